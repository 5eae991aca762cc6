// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/convert.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "columnar_dataset.hpp"
#include "convert_episode.hpp"
#include "foresight/core/log.hpp"
#include "frame_pieces.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// Columns that every writer makes by itself.
const std::set<std::string> kWriterColumns = {"frame",         "timestamp", "frame_index",
                                              "episode_index", "index",     "task_index"};

constexpr double kUnknownRate = 10;  // for recordings that tell none; a player needs one

ConversionSource open_source(const fs::path& from, const ConvertOptions& options) {
  ConversionSource source;
  source.datasets.push_back(open_dataset(from, options.reading));
  source.cameras = source.first().cameras();
  if (!options.reading.camera.empty() || source.cameras.size() == 1)
    source.cameras = {chosen_camera(from.string(), source.cameras, options.reading)};
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

// A group that has these columns, its shape with them; else a vector.
RecordedFeature feature_of(const std::string& name, const std::vector<std::string>& columns,
                           const std::vector<ColumnGroup>& groups) {
  RecordedFeature feature{name, columns};
  for (const auto& group : groups)
    if (group.columns == columns && group.shape.size() > 1) feature.shape = group.shape;
  return feature;
}

// Groups without the columns that are written otherwise; of a group that has lost some, every
// column by itself.
std::vector<RecordedFeature> other_features(const Dataset& dataset,
                                            const std::vector<ColumnGroup>& groups) {
  std::set<std::string> taken = kWriterColumns;
  taken.insert(dataset.action_columns().begin(), dataset.action_columns().end());
  taken.insert(dataset.state_columns().begin(), dataset.state_columns().end());
  std::vector<RecordedFeature> others;
  for (const auto& group : groups) {
    std::vector<std::string> left;
    for (const auto& column : group.columns)
      if (!taken.contains(column)) left.push_back(column);
    const bool name_is_free = group.name != "action" && group.name != "observation.state";
    if (left.size() == group.columns.size() && name_is_free)
      others.push_back(feature_of(group.name, left, groups));
    else
      for (const auto& column : left) others.push_back({column, {column}});
  }
  return others;
}

// The type that is written for columns that belong together.
at::ScalarType written_type(const Dataset& dataset, const std::vector<std::string>& columns) {
  const auto type = dataset.read_stored(columns, 0, 0, 0).scalar_type();
  if (type == at::kBool || type == at::kDouble || type == at::kFloat) return type;
  return at::isFloatingType(type) ? at::kFloat : at::kLong;
}

std::vector<RecordedFeature> written_features(const Dataset& dataset) {
  const auto groups = dataset.groups();
  std::vector<RecordedFeature> features = {feature_of("action", dataset.action_columns(), groups)};
  if (!dataset.state_columns().empty())
    features.push_back(feature_of("observation.state", dataset.state_columns(), groups));
  const auto others = other_features(dataset, groups);
  features.insert(features.end(), others.begin(), others.end());
  for (auto& feature : features) {
    feature.type = written_type(dataset, feature.columns);
    // Names in the data set have dots where paths have slashes.
    std::replace(feature.name.begin(), feature.name.end(), '/', '.');
  }
  return features;
}

// Notes are JSON; a path may be of any bytes. What is no character becomes U+FFFD.
std::string as_utf8(const std::string& text) {
  using nlohmann::json;
  return json::parse(json(text).dump(-1, ' ', false, json::error_handler_t::replace));
}

RecordingOptions writing_options(const ConversionSource& source, const ConvertOptions& options) {
  const Dataset& dataset = source.first();
  RecordingOptions writing;
  writing.video.fps = std::round(rate_of(dataset) * 1e4) / 1e4;  // containers keep 9.99999
  writing.video.crf = options.crf;
  writing.video.encoder = options.encoder;
  writing.cameras = source.cameras;
  writing.features = written_features(dataset);
  writing.texts = dataset.text_columns();
  if (options.format == TargetFormat::lerobot)
    std::erase(writing.texts, "task");  // which LeRobot keeps apart
  else
    writing.video.key_interval = VideoWriterOptions().key_interval;
  writing.task = options.task;
  writing.last_action = dataset.last_action();
  writing.notes = dataset.notes();  // e.g. the environment, which a report's film is made in
  writing.notes["converted_from"] = as_utf8(dataset.name());
  writing.storage = options.storage;
  writing.episodes_per_file = std::numeric_limits<int64_t>::max();
  writing.data_file_mb = options.data_file_mb;
  writing.video_file_mb = options.video_file_mb;
  return writing;
}

// Rows first..first+count-1.
RecordedEpisode read_piece(const ConversionSource& source, const RecordingOptions& writing,
                           int64_t episode, int64_t first, int64_t count) {
  const Dataset& dataset = source.first();
  RecordedEpisode rows;
  for (std::size_t c = 0; c < source.cameras.size(); ++c)
    rows.frames[source.cameras[c]] =
        source.datasets[c]->read_frames(episode, row_range(first, count));
  for (const auto& feature : writing.features)
    rows.values[feature.name] = dataset.read_stored(feature.columns, episode, first, count);
  for (const auto& text : writing.texts)
    rows.texts[text] = dataset.read_text(text, episode, first, count);
  return rows;
}

// "set/" and "set" are written beside as "set.converting".
fs::path unfinished_path(const fs::path& to) {
  fs::path path = to.lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  path += ".converting";
  return path;
}

}  // namespace

void convert_episode(const ConversionSource& source, const RecordingOptions& writing,
                     int64_t episode, EpisodeWriter& writer) {
  const Dataset& dataset = source.first();
  int64_t row_bytes = 0;
  for (const auto& camera : source.datasets)
    row_bytes += camera->image_size().height * camera->image_size().width * 3;
  visit_pieces(dataset.length(episode), row_bytes, [&](int64_t first, int64_t count) {
    writer.append_rows(read_piece(source, writing, episode, first, count));
  });
  const auto texts = dataset.text_columns();
  const bool told = std::find(texts.begin(), texts.end(), "task") != texts.end();
  writer.finish_episode(told ? dataset.read_text("task", episode, 0, 1)[0] : std::string());
}

std::vector<std::string> ConvertOptions::validate() const {
  Rules rules("ConvertOptions");
  rules.nested("reading", reading.validate());
  rules.within("crf", static_cast<double>(crf), 0, 63);
  rules.check(!encoder.empty(), "encoder", encoder, "must name one, e.g. h264 or av1");
  rules.check(!task.empty(), "task", task, "must say something");
  return rules.problems();
}

Conversion convert_dataset(const fs::path& from, const fs::path& to, const ConvertOptions& options,
                           const std::function<void(int64_t done, int64_t all)>& progress) {
  require_valid(options);
  const ConversionSource source = open_source(from, options);
  require(!source.first().action_columns().empty(), ErrorCategory::unsupported,
          from.string() + ": holds pictures alone; without actions there is no recording to write");
  require(!fs::exists(to), ErrorCategory::invalid_argument,
          to.string() + ": exists already, a data set is written to a new folder");
  const RecordingOptions writing = writing_options(source, options);
  // Written beside the target and renamed, so that a conversion that stops leaves nothing there.
  const fs::path unfinished = unfinished_path(to);
  fs::remove_all(unfinished);  // of a conversion that was killed
  const int64_t episodes = source.first().num_episodes();
  try {
    const auto writer = open_episode_writer(unfinished, options.format, writing);
    for (int64_t e = 0; e < episodes; ++e) {
      convert_episode(source, writing, e, *writer);
      if (progress) progress(e + 1, episodes);
    }
    writer->finish();
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(unfinished, ignored);
    throw;
  }
  std::error_code code;
  fs::rename(unfinished, to, code);
  require(!code, ErrorCategory::io_failure,
          unfinished.string() + ": cannot be renamed to " + to.string() + ": " + code.message());
  return {episodes, source.first().total_rows(), source.cameras};
}

}  // namespace foresight::data
