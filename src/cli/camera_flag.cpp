// SPDX-License-Identifier: Apache-2.0
#include "camera_flag.hpp"

#include <CLI/CLI.hpp>

namespace foresight::cli {

void CameraFlag::add(CLI::App& app) {
  app.add_option("--camera", camera,
                 "recordings of several cameras: whose frames are read (default: the first by "
                 "name; `foresight inspect` lists them)");
}

std::shared_ptr<const data::Dataset> CameraFlag::open(const std::string& path,
                                                      data::DatasetOptions options) const {
  options.camera = camera;
  return data::open_dataset(path, options);
}

}  // namespace foresight::cli
