// SPDX-License-Identifier: Apache-2.0
// --camera, the same for every sub-command that reads recordings.
#pragma once

#include <memory>
#include <string>

#include "foresight/data/dataset.hpp"
#include "foresight/data/identity.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

struct CameraFlag {
  std::string camera;  ///< empty: as the run or the bundle was trained on, else the first by name

  void add(CLI::App& app);
  /// The recordings at `path`, seen by this camera. Throws what data::open_dataset() throws; for a
  /// camera that is not there, Error(not_found) with the names of those that are. `usual`: the
  /// camera where the flag names none, as a model was trained on; where these recordings have none
  /// of that name, the first by name.
  std::shared_ptr<const data::Dataset> open(const std::string& path,
                                            data::DatasetOptions options = {},
                                            const std::string& usual = {}) const;
  /// The same, as `trained_on` tells of a run or a bundle: by its camera, and with its action
  /// columns in its order where these recordings have the same ones in another.
  std::shared_ptr<const data::Dataset> open_as(const data::DataIdentity& trained_on,
                                               const std::string& path,
                                               data::DatasetOptions options = {}) const;
};

}  // namespace foresight::cli
