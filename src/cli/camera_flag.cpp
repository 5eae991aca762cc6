// SPDX-License-Identifier: Apache-2.0
#include "camera_flag.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <vector>

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

std::shared_ptr<const data::Dataset> CameraFlag::open_as(const data::DataIdentity& trained_on,
                                                         const std::string& path,
                                                         data::DatasetOptions options) const {
  auto dataset = open(path, options, trained_on.camera);
  const auto& here = dataset->action_columns();
  const auto& then = trained_on.action_columns;
  if (then.empty() && !trained_on.data.empty()) {  // told by an early version, or without actions
    std::vector<std::string> in_table;
    for (const auto& column : dataset->columns())
      if (std::find(here.begin(), here.end(), column) != here.end()) in_table.push_back(column);
    if (!data::unnumbered_order(in_table).empty())
      log(LogLevel::warning,
          path +
              ": action columns are read in the order of their numbers. What was trained by an "
              "early version, which did not tell their order, had them as the table has: then "
              "list them so in dataset.json (\"action_columns\")");
  }
  if (here == then || !std::is_permutation(here.begin(), here.end(), then.begin(), then.end()))
    return dataset;
  log(LogLevel::warning,
      path + ": action " +
          (data::unnumbered_order(then).empty() ? std::string("columns are in another order here")
                                                : data::unnumbered_order(then)) +
          "; the order of the training is kept, so that a command means what "
          "was learned");
  options.actions = then;
  return open(path, options, trained_on.camera);
}

}  // namespace foresight::cli
