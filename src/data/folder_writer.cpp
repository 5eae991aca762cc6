// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_writer.hpp"

#include <charconv>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <set>

#include "episode_files.hpp"
#include "foresight/data/csv.hpp"
#include "foresight/io/files.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::data {

namespace fs = std::filesystem;

std::vector<std::string> FolderWriterOptions::validate() const {
  Rules rules("FolderWriterOptions");
  rules.nested("video", video.validate());
  rules.check(!actions.empty(), "actions", "[]", "must name at least one column");
  std::set<std::string> seen = {"frame", "timestamp"};
  for (const auto* names : {&actions, &states, &others})
    for (const auto& column : *names) {
      const bool plain = !column.empty() && column.find_first_of(",\"\r\n") == std::string::npos;
      rules.check(plain, "column", column, "must be a name without commas, quotes and line ends");
      rules.check(seen.insert(column).second, "column", column,
                  "must be named once (frame and timestamp are added)");
    }
  return rules.problems();
}

FolderWriter::FolderWriter(fs::path folder, FolderWriterOptions options)
    : folder_(std::move(folder)), options_(std::move(options)) {
  require_valid(options_);
  require(has_video_encoder(options_.video.encoder), ErrorCategory::unsupported,
          folder_.string() + ": this FFmpeg has no H.264 encoder '" + options_.video.encoder + "'");
  for (const auto* names : {&options_.actions, &options_.states, &options_.others})
    columns_.insert(columns_.end(), names->begin(), names->end());
  std::error_code code;
  fs::create_directories(folder_, code);
  require(!code, ErrorCategory::io_failure,
          folder_.string() + ": cannot be created: " + code.message());
  continue_folder();
}

FolderWriter::~FolderWriter() = default;

void FolderWriter::continue_folder() {
  for (const auto& entry : fs::directory_iterator(folder_)) {
    const auto number = episode_number(entry.path().stem().string());
    if (!number) continue;
    number_ = std::max(number_, *number + 1);
    if (is_video_file(entry.path())) ++episodes_;
  }
  const fs::path settings_file = folder_ / "dataset.json";
  if (!fs::exists(settings_file)) {
    require(episodes_ == 0, ErrorCategory::invalid_argument,
            folder_.string() + ": holds episodes but no dataset.json that says what they are");
    return;
  }
  const nlohmann::json settings = io::read_json(settings_file);
  require(settings.is_object(), ErrorCategory::bad_file,
          settings_file.string() + ": is not a JSON object");
  const auto same = [&](const char* key, const nlohmann::json& value) {
    require(settings.contains(key) && settings.at(key) == value, ErrorCategory::invalid_argument,
            settings_file.string() + ": " + key + " = " +
                (settings.contains(key) ? settings.at(key).dump() : std::string("missing")) +
                ", but the episodes to be added have " + value.dump());
  };
  same("action_columns", options_.actions);
  same("state_columns", options_.states);
  same("fps", options_.video.fps);
  same("last_action",
       std::string(options_.last_action == LastAction::artefact ? "artefact" : "applied"));
  if (settings.contains("height") && settings.contains("width") &&
      settings["height"].is_number_integer() && settings["width"].is_number_integer())
    size_ = {settings["height"].get<int64_t>(), settings["width"].get<int64_t>()};
}

fs::path FolderWriter::file(const char* extension) const {
  char name[48];
  std::snprintf(name, sizeof name, "episode_%04lld%s", static_cast<long long>(number_), extension);
  return folder_ / name;
}

void FolderWriter::append(const Tensor& frame, const Tensor& values) {
  check_shape("frame", frame, {kAny, kAny, 3}, "[H,W,3]");
  check_shape("values", values, {static_cast<int64_t>(columns_.size())}, "[columns]");
  require(values.is_floating_point(), ErrorCategory::invalid_argument,
          "values: expected floating point numbers");
  const ImageSize size{frame.size(0), frame.size(1)};
  require(size_ == ImageSize{} || size == size_, ErrorCategory::invalid_argument,
          folder_.string() + ": a frame of " + std::to_string(size.width) + "x" +
              std::to_string(size.height) + " pixels in a data set of " +
              std::to_string(size_.width) + "x" + std::to_string(size_.height));
  const Tensor row = values.to(at::kCPU, at::kDouble).contiguous();
  const bool single =
      values.scalar_type() != at::kDouble;  // print no digits that float32 does not have
  std::string line =
      std::to_string(rows_) + "," + number_text(static_cast<double>(rows_) / options_.video.fps);
  const auto* numbers = row.const_data_ptr<double>();
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    const bool is_state =
        c >= options_.actions.size() && c < options_.actions.size() + options_.states.size();
    const bool allowed = std::isfinite(numbers[c]) || (std::isnan(numbers[c]) && !is_state);
    require(allowed, ErrorCategory::non_finite,
            folder_.string() + ": column '" + columns_[c] + "' of row " + std::to_string(rows_) +
                " is not a finite number");
    line += ',';
    line += single ? number_text(static_cast<float>(numbers[c])) : number_text(numbers[c]);
  }
  if (!video_) video_ = std::make_unique<VideoWriter>(file(".mp4"), options_.video);
  video_->write(frame);
  size_ = size;
  table_ += line + "\n";
  ++rows_;
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

int64_t FolderWriter::finish_episode() {
  require(rows_ > 0, ErrorCategory::invalid_argument,
          folder_.string() + ": the episode has no rows");
  std::string header = "frame,timestamp";
  for (const auto& column : columns_) header += "," + column;
  const fs::path table = file(".csv");
  io::write_text(table, header + "\n" + table_);
  try {
    video_->close();
  } catch (...) {
    std::error_code ignored;
    fs::remove(table, ignored);
    discard_episode();
    throw;
  }
  ++episodes_;
  discard_episode();
  write_settings();
  return number_++;
}

void FolderWriter::discard_episode() {
  video_.reset();
  table_.clear();
  rows_ = 0;
}

void FolderWriter::write_settings() const {
  nlohmann::ordered_json settings;
  settings["format"] = "folder of episode_XXXX.mp4 + episode_XXXX.csv, one row per video frame";
  settings["fps"] = options_.video.fps;
  settings["height"] = size_.height;
  settings["width"] = size_.width;
  settings["episodes"] = episodes_;
  settings["action_columns"] = options_.actions;
  settings["state_columns"] = options_.states;
  settings["last_action"] = options_.last_action == LastAction::artefact ? "artefact" : "applied";
  for (const auto& [key, text] : options_.notes)
    if (!settings.contains(key)) settings[key] = text;
  io::write_json(folder_ / "dataset.json", settings);
}

}  // namespace foresight::data
