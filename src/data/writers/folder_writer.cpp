// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_writer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "../formats/episode_files.hpp"
#include "../formats/irregular_steps.hpp"
#include "../formats/number_types.hpp"
#include "../formats/recorded_notes.hpp"
#include "../formats/recorded_splits.hpp"
#include "../video/film_encoder.hpp"
#include "episode_rows.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/csv.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"
#include "recording_lock.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kSingleCamera = "pixels";  // as FolderDataset calls it

RecordingOptions recording_of(const FolderWriterOptions& options) {
  RecordingOptions recording{.video = options.video, .cameras = {kSingleCamera}};
  recording.last_action = options.last_action;
  recording.notes = options.notes;
  recording.features = {{"action", options.actions}};
  if (!options.states.empty()) recording.features.push_back({"observation.state", options.states});
  for (const auto& column : options.others) recording.features.push_back({column, {column}});
  return recording;
}

FolderWriterOptions folder_options_of(const RecordingOptions& recording) {
  FolderWriterOptions options{.video = recording.video};
  options.last_action = recording.last_action;
  options.notes = recording.notes;
  if (recording.robot_type != kUnknownRobot)
    options.notes.emplace(kRobotNote, recording.robot_type);
  for (const auto& feature : recording.features) {
    auto& columns = feature.name == "action"              ? options.actions
                    : feature.name == "observation.state" ? options.states
                                                          : options.others;
    columns.insert(columns.end(), feature.columns.begin(), feature.columns.end());
  }
  return options;
}

// Prints no digits that the stored type does not have.
std::string cell_text(const Tensor& value) {
  if (value.scalar_type() == at::kFloat) return number_text(value.item<float>());
  if (value.scalar_type() == at::kDouble) return number_text(value.item<double>());
  return std::to_string(value.item<int64_t>());
}

std::string frame_time(int64_t row, double fps) {
  return number_text(static_cast<double>(row) / fps);
}

}  // namespace

std::vector<std::string> FolderWriterOptions::validate() const {
  Rules rules("FolderWriterOptions");
  rules.nested("video", video.validate());
  rules.check(!actions.empty(), "actions", "[]", "must name at least one column");
  std::set<std::string> seen = {"frame"};
  for (const auto* names : {&actions, &states, &others})
    for (const auto& column : *names) {
      const bool plain = !column.empty() && column.find_first_of(",\"\r\n") == std::string::npos;
      rules.check(plain, "column", column, "must be a name without commas, quotes and line ends");
      rules.check(seen.insert(column).second, "column", column,
                  "must be named once (frame is added)");
    }
  check_notes(rules, notes);
  return rules.problems();
}

FolderWriter::FolderWriter(fs::path folder, FolderWriterOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {
  require_valid(options_);
  recording_ = recording_of(options_);
  start();
}

FolderWriter::FolderWriter(fs::path folder, const RecordingOptions& options)
    : folder_(std::move(folder)), options_(folder_options_of(options)), recording_(options) {
  const auto problems = options.validate(TargetFormat::folder);
  require(problems.empty(), ErrorCategory::invalid_option,
          problems.empty() ? std::string() : problems.front());
  require_valid(options_);
  types_ = table_types(recording_.features);
  names_ = table_names(recording_.features);
  start();
}

FolderWriter::~FolderWriter() = default;

void FolderWriter::start() {
  require_video_encoder(folder_, options_.video.encoder);
  require(!fs::exists(folder_ / "meta" / "info.json"), ErrorCategory::invalid_argument,
          folder_.string() +
              ": is a LeRobot data set; what is added to it is written as such "
              "(TargetFormat::lerobot, --format lerobot)");
  for (const auto* names : {&options_.actions, &options_.states, &options_.others})
    columns_.insert(columns_.end(), names->begin(), names->end());
  std::error_code code;
  fs::create_directories(folder_, code);
  require(!code, ErrorCategory::io_failure,
          folder_.string() + ": cannot be created: " + code.message());
  lock_ = std::make_unique<RecordingLock>(folder_);
  splits_ = std::make_unique<KeptSplits>();
  continue_folder();
}

void FolderWriter::continue_folder() {
  remove_abandoned_files(folder_);
  std::set<int64_t> tables, others;
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    const auto number = episode_number(name.substr(0, name.find('.')));
    if (!number) continue;
    (is_table_file(entry.path()) ? tables : others).insert(*number);
    number_ = std::max(number_, *number + 1);
  }
  episodes_ = static_cast<int64_t>(tables.size());
  const fs::path settings_file = folder_ / "dataset.json";
  if (!fs::exists(settings_file)) {
    require(episodes_ == 0, ErrorCategory::invalid_argument,
            folder_.string() + ": holds episodes but no dataset.json that says what they are");
    return;
  }
  if (number_ > 0 && !tables.contains(number_ - 1)) remove_unfinished_episode(--number_);
  if (episodes_ == 0) return;  // there is nothing that new episodes would have to agree with
  const nlohmann::json settings = io::read_json(settings_file);
  require(settings.is_object(), ErrorCategory::bad_file,
          settings_file.string() + ": is not a JSON object");
  const auto same = [&](const char* key, const nlohmann::json& value) {
    require(settings.contains(key) && settings.at(key) == value, ErrorCategory::invalid_argument,
            settings_file.string() + ": " + key + " = " +
                (settings.contains(key) ? settings.at(key).dump() : std::string("missing")) +
                ", but the episodes to be added have " + value.dump());
  };
  for (const auto& note : notes_in(settings)) options_.notes.insert(note);  // new ones count
  if (const auto splits = settings.value("splits", nlohmann::json()); !splits.empty()) {
    // A writer that was killed may not have counted its last table.
    const bool uncounted = settings.value("episodes", nlohmann::json()) == episodes_ - 1;
    *splits_ = kept_splits(settings_file, splits, {tables.begin(), tables.end()},
                           TargetFormat::folder, uncounted);
  }
  same("action_columns", options_.actions);
  same("state_columns", options_.states);
  same("fps", options_.video.fps);
  same("last_action",
       std::string(options_.last_action == LastAction::artefact ? "artefact" : "applied"));
  if (settings.contains("cameras") || recording_.cameras.size() > 1)
    same("cameras", recording_.cameras);
  if (const auto shapes = table_shapes(recording_.features);
      settings.contains("shapes") || !shapes.empty())
    same("shapes", shapes);
  if (settings.contains("types"))
    same("types", types_.emplace(table_types(recording_.features)));
  else
    types_.reset();  // those of the episodes that are there are not known
  for (const auto& [column, name] : names_in(settings)) names_[column] = name;
  if (recording_.cameras.size() == 1 && settings.contains("height") && settings.contains("width") &&
      settings["height"].is_number_integer() && settings["width"].is_number_integer())
    sizes_[recording_.cameras.front()] = {settings["height"].get<int64_t>(),
                                          settings["width"].get<int64_t>()};
}

// Its table, which is written last, is not there: the writer was stopped between two files.
void FolderWriter::remove_unfinished_episode(int64_t number) const {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const std::string name = entry.path().filename().string();
    if (episode_number(name.substr(0, name.find('.'))) != number || !is_video_file(entry.path()))
      continue;
    log(LogLevel::warning, entry.path().string() + ": of an unfinished episode, removed");
    fs::remove(entry.path());
  }
}

fs::path FolderWriter::file(const std::string& ending) const {
  char name[48];
  std::snprintf(name, sizeof name, "episode_%04lld", static_cast<long long>(number_));
  return folder_ / (name + ending);
}

fs::path FolderWriter::video_file(const std::string& camera) const {
  if (recording_.cameras.size() == 1) return file(".mp4");
  std::string name = camera;
  std::replace(name.begin(), name.end(), '/', '.');
  return file("." + name + ".mp4");
}

void FolderWriter::append(const RecordedRow& row) {
  const std::string where =
      folder_.string() + ": episode " + std::to_string(number_) + ", row " + std::to_string(rows_);
  require(lock_ != nullptr, ErrorCategory::invalid_argument, where + ": is finished already");
  require(!spoiled_, ErrorCategory::invalid_argument,
          where + ": an earlier row could not be written; discard_episode()");
  const auto values = checked_row(recording_, row, sizes_, where);
  std::map<std::string, std::string> by_column;
  for (const auto& feature : recording_.features)
    for (std::size_t c = 0; c < feature.columns.size(); ++c)
      by_column[feature.columns[c]] = cell_text(values.at(feature.name)[static_cast<int64_t>(c)]);
  std::vector<std::string> cells;
  for (const auto& column : columns_) cells.push_back(by_column.at(column));
  spoiled_ = true;
  for (const auto& [camera, frame] : row.frames) {
    auto& video = videos_[camera];
    if (!video) {
      auto encoding = options_.video;
      // Halved colour needs even sizes.
      if (frame.size(0) % 2 != 0 || frame.size(1) % 2 != 0) encoding.chroma = Chroma::yuv444;
      video = std::make_unique<VideoWriter>(video_file(camera), encoding);
    }
    video->write(frame);
    sizes_[camera] = {frame.size(0), frame.size(1)};
  }
  spoiled_ = false;
  cells_.push_back(std::move(cells));
  texts_.push_back(row.texts);
  ++rows_;
}

void FolderWriter::append(const Tensor& frame, const Tensor& values) {
  check_shape("values", values, {static_cast<int64_t>(columns_.size())}, "[columns]");
  require(values.is_floating_point(), ErrorCategory::invalid_argument,
          "values: expected floating point numbers");
  const auto type = values.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
  RecordedRow row{.frames = {{recording_.cameras.front(), frame}}, .values = {}};
  int64_t place = 0;
  for (auto& feature : recording_.features) {
    const auto width = static_cast<int64_t>(feature.columns.size());
    require(!types_ || feature.type == type, ErrorCategory::invalid_argument,
            folder_.string() + ": '" + feature.name + "' is recorded as " +
                number_type_name(feature.type) + ", but the values to be added are " +
                number_type_name(type));
    feature.type = type;
    row.values[feature.name] = values.narrow(0, place, width);
    place += width;
  }
  append(row);
}

int64_t FolderWriter::write_episode(const Tensor& frames, const Tensor& values) {
  check_shape("frames", frames, {kAny, kAny, kAny, 3}, "[T,H,W,3]");
  check_shape("values", values, {frames.size(0), static_cast<int64_t>(columns_.size())},
              "[T,columns]");
  require(
      rows_ == 0, ErrorCategory::invalid_argument,
      folder_.string() + ": another episode of " + std::to_string(rows_) + " rows is not finished");
  try {
    for (int64_t t = 0; t < frames.size(0); ++t) append(frames[t], values[t]);
    return finish_episode();
  } catch (...) {
    discard_episode();
    throw;
  }
}

// CSV, or one JSON object a line where there are words: CSV would have to quote them.
std::string FolderWriter::table_text(const std::string& task) const {
  const bool json = !recording_.texts.empty();
  const auto recorded = std::find(columns_.begin(), columns_.end(), kTimeColumn);
  std::string table;
  if (!json) {
    table = "frame,timestamp";
    for (const auto& column : columns_)
      if (column != kTimeColumn) table += "," + column;
    table += "\n";
  }
  const auto quoted = [](const std::string& text) {
    return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  };
  const auto json_number = [](const std::string& cell) { return cell == "nan" ? "null" : cell; };
  for (int64_t t = 0; t < rows_; ++t) {
    const auto& cells = cells_[static_cast<std::size_t>(t)];
    const auto time = recorded == columns_.end()
                          ? frame_time(t, options_.video.fps)
                          : cells[static_cast<std::size_t>(recorded - columns_.begin())];
    if (!json) {
      table += std::to_string(t) + "," + time;
      for (std::size_t c = 0; c < columns_.size(); ++c)
        if (columns_[c] != kTimeColumn) table += "," + cells[c];
    } else {
      table.append("{\"frame\":").append(std::to_string(t));
      table.append(",\"timestamp\":").append(json_number(time));
      for (std::size_t c = 0; c < columns_.size(); ++c)
        if (columns_[c] != kTimeColumn)
          table.append(",").append(quoted(columns_[c])).append(":").append(json_number(cells[c]));
      for (const auto& [column, text] : texts_[static_cast<std::size_t>(t)])
        table.append(",")
            .append(quoted(column))
            .append(":")
            .append(quoted(column == "task" && text.empty() ? task : text));
      table += "}";
    }
    table += "\n";
  }
  return table;
}

int64_t FolderWriter::finish_episode(const std::string& task) {
  require(rows_ > 0, ErrorCategory::invalid_argument,
          folder_.string() + ": the episode has no rows");
  require(!spoiled_, ErrorCategory::invalid_argument,
          folder_.string() + ": a row could not be written; discard_episode()");
  const fs::path table = file(recording_.texts.empty() ? ".csv" : ".jsonl");
  auto splits = *splits_;
  try {
    // Before the first episode's files: without it, the next writer could not tell what they are;
    // and an old text of a split might name them.
    if (episodes_ == 0 || splits.changed) write_settings(episodes_, splits.told);
    for (auto& [camera, video] : videos_) video->close();
    io::write_text(table, table_text(task.empty() ? recording_.task : task));
    if (!splits.train.empty()) {
      splits.train.push_back(number_);
      splits.told["train"] = folder_range(splits.train);
    }
    write_settings(episodes_ + 1, splits.told);
  } catch (...) {
    std::error_code ignored;
    fs::remove(table, ignored);  // first: a video without a table is what is cleared away
    for (const auto& camera : recording_.cameras) fs::remove(video_file(camera), ignored);
    if (episodes_ == 0) fs::remove(folder_ / "dataset.json", ignored);
    discard_episode();
    throw;
  }
  splits.changed = false;
  *splits_ = std::move(splits);
  ++episodes_;
  discard_episode();
  return number_++;
}

void FolderWriter::discard_episode() {
  videos_.clear();
  cells_.clear();
  texts_.clear();
  rows_ = 0;
  spoiled_ = false;
}

void FolderWriter::finish() {
  discard_episode();
  lock_.reset();
}

void FolderWriter::write_settings(int64_t episodes, const nlohmann::json& splits) const {
  nlohmann::ordered_json settings;
  settings["format"] = "folder of episode_XXXX.mp4 + episode_XXXX.csv, one row per video frame";
  settings["fps"] = options_.video.fps;
  if (recording_.cameras.size() == 1) {
    settings["height"] = sizes_.begin()->second.height;
    settings["width"] = sizes_.begin()->second.width;
  } else {
    settings["cameras"] = recording_.cameras;
  }
  settings["episodes"] = episodes;
  settings["action_columns"] = options_.actions;
  settings["state_columns"] = options_.states;
  settings["last_action"] = options_.last_action == LastAction::artefact ? "artefact" : "applied";
  if (const auto shapes = table_shapes(recording_.features); !shapes.empty())
    settings["shapes"] = shapes;
  if (types_) settings["types"] = *types_;
  if (!names_.empty()) settings["names"] = names_;
  if (!splits.empty()) settings["splits"] = splits;
  for (const auto& [key, text] : options_.notes)
    if (!settings.contains(key)) settings[key] = text;
  io::write_json(folder_ / "dataset.json", settings);
}

}  // namespace foresight::data
