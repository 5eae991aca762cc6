// SPDX-License-Identifier: Apache-2.0
// --camera, the same for every sub-command that reads recordings.
#pragma once

#include <memory>
#include <string>

#include "foresight/data/dataset.hpp"

namespace CLI {
class App;
}

namespace foresight::cli {

struct CameraFlag {
  std::string camera;  ///< empty: the first by name

  void add(CLI::App& app);
  /// The recordings at `path`, seen by this camera. Throws what data::open_dataset() throws; for a
  /// camera that is not there, Error(not_found) with the names of those that are.
  std::shared_ptr<const data::Dataset> open(const std::string& path,
                                            data::DatasetOptions options = {}) const;
};

}  // namespace foresight::cli
