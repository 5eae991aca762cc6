// SPDX-License-Identifier: Apache-2.0
// A trained model that learns on from new recordings: old ones are rehearsed meanwhile, what it
// forgets of them is measured, and so is how far the new ones are from what it was made for.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/statistics.hpp"

namespace foresight::train {

/// Where learning goes on, and what is rehearsed.
struct FORESIGHT_API Continuation {
  std::filesystem::path bundle;                 ///< the trained model
  std::shared_ptr<const data::Dataset> replay;  ///< earlier recordings; null: none
  double share = 0.5;  ///< part of every batch that is replayed; half is the usual compromise

  /// Throws Error(invalid_option) for a share outside (0, 1) with a replay.
  void check() const;
  /// Windows of a batch that are replayed: `share` of it, rounded to a multiple of the number of
  /// `processes` that share it, as old and new ones are shared each. At least one a process, and
  /// at least one is new. Throws Error(invalid_option) for a batch that cannot be shared so.
  int64_t replayed(int64_t batch, int64_t processes = 1) const;
};

/// One column of new data against the statistics that the model was trained with.
struct ColumnDrift {
  std::string column;
  double shift = 0;    ///< (mean - the model's mean) / the model's standard deviation
  double spread = 1;   ///< standard deviation / the model's
  double outside = 0;  ///< part of the rows outside the model's limits; of actions
  /// The training data held one value: `shift` and `spread` are then in the column's own units, and
  /// both 0 where the new data hold the same value throughout.
  bool never_varied = false;
};

/// Columns that held one value throughout what a model was trained on, by their places among its
/// action and its state columns. Their mean is that value, and their standard deviation in the
/// model's statistics is 1.
struct ConstantColumns {
  std::vector<int64_t> actions = {}, states = {};
};
/// As a bundle's provenance tells them; nothing of one of an earlier version, or of an import.
FORESIGHT_API std::optional<ConstantColumns> constant_columns_told(
    const nlohmann::json& provenance);
/// Adds them to what a bundle tells.
FORESIGHT_API void tell_constant_columns(nlohmann::json& provenance,
                                         const ConstantColumns& constant);
/// Places of those `columns` that hold one value in `episodes`, among those whose `std` is 1: rows
/// are read only where there are any.
FORESIGHT_API std::vector<int64_t> constant_columns(const data::Dataset& dataset,
                                                    const std::vector<std::string>& columns,
                                                    const std::vector<double>& std,
                                                    data::LastRow last_row,
                                                    const std::vector<int64_t>& episodes);

/// How far new recordings are from what a model was trained on. A model knows nothing of actions
/// that it has never seen, whatever it learns of the rest.
struct FORESIGHT_API DataDrift {
  std::vector<ColumnDrift> actions = {};
  std::vector<ColumnDrift> states = {};  ///< columns that the model observes and normalises
  /// Of latents against those of the replayed recordings, by the model as it was: root mean square
  /// over channels of the shift in standard deviations, and of the ratio of standard deviations;
  /// NaN without a replay.
  double latent_shift = 0, latent_spread = 1;

  /// What is worth a warning: a mean more than half a standard deviation away, a spread more than
  /// twice or less than half, more than one action in a hundred outside the limits, any other value
  /// in a column that never varied.
  std::vector<std::string> warnings() const;
};

/// Those that held their value in the data of `drift`, which was measured with them, too: what a
/// model that learned on from these data has still only seen one value of.
FORESIGHT_API ConstantColumns still_constant(const ConstantColumns& constant,
                                             const DataDrift& drift);

/// Drift of the actions in `episodes` (the last row of each does not count) against `space`, of
/// which `constant` never varied; where that is not known, a column of standard deviation 1 may go
/// on without any. Throws Error(invalid_argument) unless the columns are as many as the space's
/// dimensions.
FORESIGHT_API std::vector<ColumnDrift> action_drift(
    const ActionSpace& space, const data::Dataset& dataset, const std::vector<int64_t>& episodes,
    const std::optional<ConstantColumns>& constant = std::nullopt);
/// Drift of `columns` in all rows of `episodes` against mean and std, one for each column; empty:
/// 0 and 1. `constant` as above.
FORESIGHT_API std::vector<ColumnDrift> state_drift(
    const data::Dataset& dataset, const std::vector<std::string>& columns,
    const std::vector<double>& mean, const std::vector<double>& std,
    const std::vector<int64_t>& episodes,
    const std::optional<ConstantColumns>& constant = std::nullopt);
/// Fills the latents' part from latents [N,D] of new and of old recordings.
FORESIGHT_API void add_latent_drift(DataDrift& drift, const Tensor& fresh, const Tensor& old);

/// A loss of the model on held-out recordings, before and after learning on.
struct BeforeAfter {
  std::string term;
  double before = 0, after = 0;
};

/// What learning on did.
struct FORESIGHT_API ContinualReport {
  DataDrift drift;
  std::vector<BeforeAfter> old_data;  ///< held-out replayed recordings; empty without a replay
  std::vector<BeforeAfter> new_data;  ///< held-out new recordings

  /// after / before - 1 of the loss on the old recordings: how much was forgotten; NaN if unknown.
  double forgetting() const;
};

/// NaN becomes null.
FORESIGHT_API nlohmann::json to_json(const ContinualReport& report);
/// Some lines for people.
FORESIGHT_API std::string summary(const ContinualReport& report);

}  // namespace foresight::train
