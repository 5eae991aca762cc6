// SPDX-License-Identifier: Apache-2.0
// A run folder: who writes it, and its config.json, what a run was started with and must go on
// with.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "foresight/data/identity.hpp"
#include "foresight/train/learn.hpp"

namespace foresight::train {

/// Whether this process writes the run: it is the only one, or the first.
bool writes_run(const LearnHooks& hooks);
/// The metrics of the run, after `resume_step` of a run that goes on; nowhere in processes but the
/// first.
EventWriter open_metrics(const RunFolder& folder, const LearnHooks& hooks,
                         std::optional<int64_t> resume_step);

/// What a run learns from.
struct LearnedFrom {
  data::DataIdentity recordings;
  std::optional<data::DataIdentity> replay = {};  ///< of a run that learns on
};

/// LearnHooks.reading as JSON, empty where nothing is told. Throws Error(invalid_argument) where it
/// is no object.
nlohmann::json reading_of(const LearnHooks& hooks);

/// The config.json of a run with these options, that learns on from a bundle, measures success and
/// shares its work among processes (`processes`) as `hooks` say.
nlohmann::json run_config(nlohmann::json options, const LearnedFrom& data, const LearnHooks& hooks);

/// Keeps other trainings out of a run's folder while it lives; null in processes but the first.
using RunLock = std::shared_ptr<const void>;

/// Locks the run's folder. Writes config.json of a new run, or compares it with that of the run to
/// go on with: options (`learn`), recordings and how they are read (`reading`), the bundle that
/// learning goes on from (`learn_on`), how success is measured (`success`), and what else it holds
/// of `family` and `measured` (from the recordings). Options that change no number may differ:
/// threads, memory, caches, intervals of metrics and checkpoints. The same recordings elsewhere,
/// and an option that the run's config.json does not know, as of an earlier version, are warned
/// about; of recordings whose damage is skipped, files may be missing by now, and a run may begin
/// to skip, which config.json then tells. A run without a checkpoint starts anew, with any options.
/// One that goes on with another number of processes gets that number added to its `processes`, and
/// is rid of temporary files of a process that was killed while it wrote. A new run that an
/// exception ends before its first row of metrics takes its config.json back. All processes call
/// this, the first one writes. Throws Error: invalid_argument where a run is that is not to be
/// resumed, where config.json is none of a run, or another process trains (its number is told),
/// invalid_option naming everything that
/// differs, from the run or between the processes.
[[nodiscard]] RunLock open_run(const nlohmann::json& config, const RunFolder& folder,
                               const LearnHooks& hooks);

}  // namespace foresight::train
