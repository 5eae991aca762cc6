// SPDX-License-Identifier: Apache-2.0
#include "camera_flag.hpp"

#include <CLI/CLI.hpp>

#include "foresight/core/log.hpp"

namespace foresight::cli {

void CameraFlag::add(CLI::App& app) {
  app.add_option("--camera", camera,
                 "recordings of several cameras: whose frames are read (default: the one that was "
                 "trained on, else the first by name; `foresight inspect` lists them)");
}

std::shared_ptr<const data::Dataset> CameraFlag::open(const std::string& path,
                                                      data::DatasetOptions options,
                                                      const std::string& usual) const {
  options.camera = camera.empty() ? usual : camera;
  try {
    return data::open_dataset(path, options);
  } catch (const Error& problem) {
    if (problem.category() != ErrorCategory::not_found || !camera.empty() || usual.empty()) throw;
  }
  options.camera.clear();
  auto dataset = data::open_dataset(path, options);
  if (dataset->cameras().size() > 1)
    log(LogLevel::warning, path + ": has no camera '" + usual +
                               "', which was trained on; frames are of '" + dataset->camera() +
                               "'");
  return dataset;
}

}  // namespace foresight::cli
