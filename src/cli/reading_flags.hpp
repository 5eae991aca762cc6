// SPDX-License-Identifier: Apache-2.0
// --camera and --reading.*: how recordings are opened, the same for every sub-command that reads
// them.
#pragma once

#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "flags.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/identity.hpp"

namespace foresight::cli {

/// What a run or a bundle tells of the recordings that it learned from.
struct TrainedOn {
  data::DataIdentity identity;
  /// Fields of data::DatasetOptions that were given, "unreadable" among them; others as by default.
  nlohmann::json reading = nlohmann::json::object();
};

/// What `object`, a run's config.json or a bundle's provenance, tells of them. Throws
/// Error(invalid_option) for a value of another kind.
TrainedOn told_by(const nlohmann::json& object);

/// The same of the bundle in a folder; nothing where there is none, which reading it then says.
TrainedOn told_by_bundle(const std::filesystem::path& bundle);

/// Whether --loader.unreadable belongs to these flags: not in `train`, where it is one of its own,
/// nor in `import`, which draws no windows.
enum class LoaderFlag { added, own };

struct ReadingFlags {
  std::string
      camera;  ///< empty: as the run or the bundle was trained on, else Dataset::cameras()' first
  OptionFlags given;   ///< --reading.* but for the camera, below "reading"

  void add(CLI::App& app, LoaderFlag loader);
  /// Fields of DatasetOptions that `told` has, with those of the flags in their place.
  nlohmann::json over(const nlohmann::json& told) const;
  /// What of them a run tells: neither threads nor what its options say, which is "unreadable".
  nlohmann::json kept(const nlohmann::json& told) const;
  /// `options` with all of that. Throws Error(invalid_option) naming the field.
  data::DatasetOptions options(const TrainedOn& trained_on,
                               data::DatasetOptions options = {}) const;
  /// The recordings at `path` as `trained_on` tells of a run or a bundle, where no flag says
  /// otherwise: read in its way, by its camera, and with its action columns in its order where
  /// these recordings have the same ones in another. Where they have no camera of that name, the
  /// first of Dataset::cameras(). Throws what data::open_dataset() throws; for a camera that was
  /// asked for and is not there, Error(not_found) with the names of those that are.
  std::shared_ptr<const data::Dataset> open_as(const TrainedOn& trained_on, const std::string& path,
                                               data::DatasetOptions options = {}) const;
  /// The same where nothing was trained on.
  std::shared_ptr<const data::Dataset> open(const std::string& path,
                                            data::DatasetOptions options = {}) const {
    return open_as({}, path, std::move(options));
  }
};

}  // namespace foresight::cli
