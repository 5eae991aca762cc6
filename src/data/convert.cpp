// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/convert.hpp"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "columnar_dataset.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/folder_writer.hpp"
#include "foresight/data/lerobot_writer.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Columns that every writer makes by itself.
const std::set<std::string> kWriterColumns = {"frame",         "timestamp", "frame_index",
                                              "episode_index", "index",     "task_index"};

constexpr double kUnknownRate = 10;  // for recordings that tell none; a player needs one

// The source, opened once for every camera.
struct Source {
  std::vector<std::string> cameras;
  std::vector<std::shared_ptr<const Dataset>> datasets;  // by camera
  const Dataset& first() const { return *datasets.front(); }
};

Source open_source(const fs::path& from, const ConvertOptions& options) {
  Source source;
  source.datasets.push_back(open_dataset(from, options.reading));
  const bool all = options.format == TargetFormat::lerobot && options.reading.camera.empty();
  source.cameras = source.first().cameras();
  if (!all) source.cameras = {chosen_camera(from.string(), source.cameras, options.reading)};
  for (std::size_t c = 1; c < source.cameras.size(); ++c) {
    auto reading = options.reading;
    reading.camera = source.cameras[c];
    source.datasets.push_back(open_dataset(from, reading));
  }
  return source;
}

double rate_of(const Dataset& dataset) {
  if (dataset.fps() > 0) return dataset.fps();
  log(LogLevel::warning, dataset.name() + ": tells no frame rate, " +
                             std::to_string(static_cast<int>(kUnknownRate)) +
                             " per second are written; set DatasetOptions.fps");
  return kUnknownRate;
}

std::vector<std::string> other_columns(const Dataset& dataset) {
  std::set<std::string> taken = kWriterColumns;
  taken.insert(dataset.action_columns().begin(), dataset.action_columns().end());
  taken.insert(dataset.state_columns().begin(), dataset.state_columns().end());
  std::vector<std::string> others;
  for (const auto& column : dataset.columns())
    if (!taken.contains(column)) others.push_back(column);
  return others;
}

// "goal_0", "goal_1" were one feature, "goal".
std::string stem_of(const std::string& column) {
  const auto underscore = column.rfind('_');
  if (underscore == std::string::npos || underscore == 0 || underscore + 1 == column.size() ||
      column.find_first_not_of("0123456789", underscore + 1) != std::string::npos)
    return column;
  return column.substr(0, underscore);
}

std::vector<LeRobotColumns> grouped(const Dataset& dataset) {
  std::vector<LeRobotColumns> features = {{"action", dataset.action_columns()}};
  if (!dataset.state_columns().empty())
    features.push_back({"observation.state", dataset.state_columns()});
  std::map<std::string, std::vector<std::string>> others;
  for (const auto& column : other_columns(dataset)) others[stem_of(column)].push_back(column);
  for (auto& [name, columns] : others) {
    const bool taken = std::any_of(features.begin(), features.end(),
                                   [&](const auto& feature) { return feature.feature == name; });
    if (columns.size() > 1 && !taken) {
      // By number: goal_10 comes after goal_9.
      std::sort(columns.begin(), columns.end(), [](const auto& a, const auto& b) {
        return std::pair(a.size(), a) < std::pair(b.size(), b);
      });
      features.push_back({name, columns});
    } else {
      for (const auto& column : columns) features.push_back({column, {column}});
    }
  }
  for (auto& feature : features)  // LeRobot's names have dots where paths have slashes
    std::replace(feature.feature.begin(), feature.feature.end(), '/', '.');
  return features;
}

// LeRobot's tools look for cameras below this name.
std::string camera_feature(std::string camera) {
  std::replace(camera.begin(), camera.end(), '/', '.');
  return camera.starts_with("observation.") ? camera : "observation.images." + camera;
}

Tensor all_frames(const Dataset& dataset, int64_t episode) {
  std::vector<int64_t> rows(static_cast<std::size_t>(dataset.length(episode)));
  std::iota(rows.begin(), rows.end(), 0);
  return dataset.read_frames(episode, rows);
}

std::string task_of(const Dataset& dataset, int64_t episode, const std::string& unknown) {
  const auto texts = dataset.text_columns();
  if (std::find(texts.begin(), texts.end(), "task") == texts.end()) return unknown;
  return dataset.read_text("task", episode, 0, 1)[0];
}

using Progress = std::function<void(int64_t, int64_t)>;

void write_lerobot(const Source& source, const fs::path& to, const ConvertOptions& options,
                   const Progress& progress) {
  const Dataset& dataset = source.first();
  LeRobotWriterOptions writing;
  writing.video.fps = std::round(rate_of(dataset) * 1e4) / 1e4;  // containers keep 9.99999
  writing.video.crf = options.crf;
  for (const auto& camera : source.cameras) writing.cameras.push_back(camera_feature(camera));
  writing.features = grouped(dataset);
  std::vector<std::string> columns;
  for (const auto& feature : writing.features)
    columns.insert(columns.end(), feature.columns.begin(), feature.columns.end());
  LeRobotWriter writer(to, writing);
  for (int64_t e = 0; e < dataset.num_episodes(); ++e) {
    std::map<std::string, Tensor> frames;
    for (std::size_t c = 0; c < source.cameras.size(); ++c)
      frames[writing.cameras[c]] = all_frames(*source.datasets[c], e);
    writer.write_episode(frames, dataset.read_all_rows(columns, e),
                         task_of(dataset, e, options.task));
    if (progress) progress(e + 1, dataset.num_episodes());
  }
  writer.finish();
}

// Written beside the target and renamed, so that a conversion that stops leaves nothing there.
void write_folder(const Source& source, const fs::path& to, const ConvertOptions& options,
                  const Progress& progress) {
  const Dataset& dataset = source.first();
  require(!fs::exists(to), ErrorCategory::invalid_argument,
          to.string() + ": exists already, a data set is written to a new folder");
  fs::path unfinished = to.lexically_normal();
  if (!unfinished.has_filename()) unfinished = unfinished.parent_path();
  unfinished += ".unfinished";
  FolderWriterOptions writing;
  writing.video.fps = rate_of(dataset);
  writing.video.crf = options.crf;
  const ImageSize size = dataset.image_size();
  if (size.height % 2 != 0 || size.width % 2 != 0) writing.video.chroma = Chroma::yuv444;
  writing.actions = dataset.action_columns();
  writing.states = dataset.state_columns();
  writing.others = other_columns(dataset);
  writing.last_action = dataset.last_action();
  writing.notes = {{"converted_from", dataset.name()}};
  std::vector<std::string> columns = writing.actions;
  columns.insert(columns.end(), writing.states.begin(), writing.states.end());
  columns.insert(columns.end(), writing.others.begin(), writing.others.end());
  fs::remove_all(unfinished);  // of a conversion that was killed
  try {
    FolderWriter writer(unfinished, writing);
    for (int64_t e = 0; e < dataset.num_episodes(); ++e) {
      writer.write_episode(all_frames(dataset, e), dataset.read_all_rows(columns, e));
      if (progress) progress(e + 1, dataset.num_episodes());
    }
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  std::error_code code;
  fs::rename(unfinished, to, code);
  require(!code, ErrorCategory::io_failure,
          unfinished.string() + ": cannot be renamed to " + to.string() + ": " + code.message());
}

}  // namespace

std::vector<std::string> ConvertOptions::validate() const {
  Rules rules("ConvertOptions");
  rules.nested("reading", reading.validate());
  rules.within("crf", static_cast<double>(crf), 0, 51);
  rules.check(!task.empty(), "task", task, "must say something");
  return rules.problems();
}

Conversion convert_dataset(const fs::path& from, const fs::path& to, const ConvertOptions& options,
                           const Progress& progress) {
  require_valid(options);
  const Source source = open_source(from, options);
  if (options.format == TargetFormat::lerobot)
    write_lerobot(source, to, options, progress);
  else
    write_folder(source, to, options, progress);
  return {source.first().num_episodes(), source.first().total_rows(), source.cameras};
}

}  // namespace foresight::data
