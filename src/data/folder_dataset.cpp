// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "column_stem.hpp"
#include "columnar_dataset.hpp"
#include "episode_files.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "parallel.hpp"
#include "picture.hpp"
#include "video_frames.hpp"
#include "whole_numbers.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOnlyCamera = "pixels";

bool is_picture_file(const fs::path& path) {
  const auto extension = path.extension();
  return extension == ".png" || extension == ".jpg" || extension == ".jpeg";
}

bool is_table_file(const fs::path& path) {
  return path.extension() == ".csv" || path.extension() == ".jsonl";
}

// What a folder holds of one episode.
struct EpisodeParts {
  fs::path table;
  std::map<std::string, fs::path> cameras;
};

// "episode_0012.front" is camera "front" of episode 12.
std::optional<std::pair<int64_t, std::string>> episode_and_camera(const std::string& name) {
  const auto dot = name.find('.');
  const auto number = episode_number(name.substr(0, dot));
  if (!number) return std::nullopt;
  return std::pair(*number, dot == std::string::npos ? kOnlyCamera : name.substr(dot + 1));
}

std::vector<fs::path> pictures_in(const fs::path& folder) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(folder))
    if (is_picture_file(entry.path())) files.push_back(entry.path());
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

FolderDataset::FolderDataset(const fs::path& folder, const DatasetOptions& options)
    : name_(folder.string()), options_(options) {
  require_valid(options);
  require(fs::is_directory(folder), ErrorCategory::not_found, name_ + ": no such folder");
  find_episodes(folder);
  read_settings(folder / "dataset.json");
  open_episodes();
  agree();
  open_frames();
}

FolderDataset::~FolderDataset() = default;

void FolderDataset::find_episodes(const fs::path& folder) {
  std::map<int64_t, EpisodeParts> found;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const bool pictures = entry.is_directory(), table = !pictures && is_table_file(path);
    if (!pictures && !table && !is_video_file(path)) continue;
    const auto name = episode_and_camera((pictures ? path.filename() : path.stem()).string());
    if (!name || (table && name->second != kOnlyCamera)) continue;
    EpisodeParts& parts = found[name->first];
    fs::path& place = table ? parts.table : parts.cameras[name->second];
    require(place.empty(), ErrorCategory::bad_file,
            path.string() + " and " + place.string() + " are both episode " +
                std::to_string(name->first));
    place = path;
  }
  require(!found.empty(), ErrorCategory::not_found,
          name_ + ": holds no episode, expected episode_0000.mp4, episode_0000.csv, ...");
  for (const auto& [number, parts] : found)
    require(!parts.cameras.empty(), ErrorCategory::not_found,
            parts.table.string() + ": the video of this table is missing (" +
                parts.table.stem().string() + ".mp4)");
  for (const auto& [camera, path] : found.begin()->second.cameras) cameras_.push_back(camera);
  camera_ = chosen_camera(name_, cameras_, options_);
  for (const auto& [number, parts] : found) {
    const auto frames = parts.cameras.find(camera_);
    require(frames != parts.cameras.end(), ErrorCategory::not_found,
            parts.cameras.begin()->second.string() + ": its episode has no camera '" + camera_ +
                "', but the first one has");
    const std::string stem = frames->second.filename().string();
    Episode episode;
    episode.name = stem.substr(0, stem.find('.'));
    episode.frames = frames->second;
    require(!parts.table.empty(), ErrorCategory::not_found,
            episode.frames.string() + ": the table of this video is missing (" + episode.name +
                ".csv)");
    episode.table.name = parts.table.string();
    episodes_.push_back(std::move(episode));
  }
}

void FolderDataset::read_settings(const fs::path& file) {
  action_columns_ = options_.actions;
  state_columns_ = options_.states;
  if (!fs::exists(file)) return;
  const nlohmann::json settings = io::read_json(file);
  require(settings.is_object(), ErrorCategory::bad_file, file.string() + ": is not a JSON object");
  const auto read = [&](const char* key, auto& value) {
    if (auto it = settings.find(key); it != settings.end())
      foresight::detail::read_value(value, *it, file.string() + ": " + key);
  };
  if (action_columns_.empty()) read("action_columns", action_columns_);
  if (state_columns_.empty()) read("state_columns", state_columns_);
  read("last_action", last_action_);
  if (settings.contains("fps")) {
    read("fps", fps_);
    require(std::isfinite(fps_) && fps_ > 0, ErrorCategory::bad_file,
            file.string() + ": fps = " + settings.at("fps").dump() + " must be a number > 0");
  }
  if (const auto shapes = settings.find("shapes"); shapes != settings.end()) {
    require(shapes->is_object(), ErrorCategory::bad_file,
            file.string() + ": shapes is not a JSON object");
    for (const auto& [name, shape] : shapes->items()) {
      foresight::detail::read_value(shapes_[name], shape, file.string() + ": shapes: " + name);
      require(numbers_in_shape(shapes_[name]).has_value(), ErrorCategory::bad_file,
              file.string() + ": shapes: " + name + " = " + shape.dump() +
                  " must be 1 to 5 sizes of 1..100000");
    }
  }
  int64_t episodes = num_episodes();
  read("episodes", episodes);
  if (episodes != num_episodes())
    log(LogLevel::warning, file.string() + ": episodes = " + std::to_string(episodes) + ", but " +
                               std::to_string(num_episodes()) + " are in the folder");
}

void FolderDataset::open_episodes() {
  parallel_for(num_episodes(), options_.threads,
               [this](int64_t e) { open_episode(episodes_[static_cast<std::size_t>(e)]); });
  for (const auto& remark : remarks()) log(LogLevel::warning, remark);
}

void FolderDataset::open_episode(Episode& episode) const {
  const std::string table = episode.table.name;
  const CsvOptions reading{.nan = NanPolicy::accept, .text = TextPolicy::skip};
  episode.table = fs::path(table).extension() == ".jsonl" ? read_jsonl(table, reading)
                                                          : read_csv(table, reading);
  const int64_t rows = episode.table.rows();
  int64_t frames = 0;
  if (fs::is_directory(episode.frames)) {
    episode.pictures = pictures_in(episode.frames);
    frames = static_cast<int64_t>(episode.pictures.size());
    require(frames > 0, ErrorCategory::bad_file,
            episode.frames.string() + ": holds no .png or .jpg file");
  } else {
    const VideoReader reader(episode.frames.string(), options_.video);
    frames = reader.num_frames();
    episode.size = {reader.info().height, reader.info().width};
    episode.rate = reader.info().average_rate;
    episode.frame_table = reader.table();
    if (!reader.info().constant_rate)
      episode.remarks.push_back(
          episode.frames.string() +
          ": frames are not equally spaced in time; rows are matched by frame number");
  }
  require(std::abs(rows - frames) <= options_.tail_mismatch, ErrorCategory::bad_file,
          table + ": has " + std::to_string(rows) + " rows, but its video " +
              episode.frames.string() + " has " + std::to_string(frames) +
              " frames; one row a frame is required (" +
              "DatasetOptions.tail_mismatch = " + std::to_string(options_.tail_mismatch) + ")");
  episode.length = std::min(rows, frames);
  if (rows != frames)
    episode.remarks.push_back(table + ": has " + std::to_string(rows) + " rows, its video " +
                              std::to_string(frames) +
                              " frames; what only one of them has is left out");
  require(episode.length > 0, ErrorCategory::bad_file, table + ": has no rows");
}

void FolderDataset::open_frames() {
  const bool pictures = !episodes_.front().pictures.empty();
  std::vector<EpisodeClip> clips;
  std::vector<std::vector<fs::path>> files;
  std::vector<std::vector<FileStamp>> stamps;
  for (const Episode& episode : episodes_) {
    require(episode.pictures.empty() != pictures, ErrorCategory::bad_file,
            episode.frames.string() + ": one of pictures and video, but " +
                episodes_.front().frames.string() + " is the other");
    clips.push_back({.file = episode.frames, .table = episode.frame_table});
    files.push_back(episode.pictures);
    stamps.emplace_back();
    for (const auto& picture : episode.pictures) stamps.back().push_back(file_stamp(picture));
  }
  if (!pictures) {
    frames_ = video_frames(std::move(clips), {}, options_.video);
    image_size_ = frames_->size();
    return;
  }
  const auto file = [files](int64_t episode, int64_t row) {
    return files[static_cast<std::size_t>(episode)][static_cast<std::size_t>(row)].string();
  };
  frames_ = picture_file_frames(file, std::move(stamps), options_.video);
  image_size_ = frames_->size();
}

// Columns with words count too: an action column with one bad cell must be an error, not an action
// less.
std::vector<std::string> FolderDataset::prefixed(std::string_view prefix) const {
  const CsvTable& table = episodes_.front().table;
  std::vector<std::string> names;
  for (const auto& column : table.columns)
    if (column.starts_with(prefix)) names.push_back(column);
  for (const auto& [column, reason] : table.skipped)
    if (column.starts_with(prefix)) names.push_back(column);
  return names;
}

void FolderDataset::agree() {
  const Episode& first = episodes_.front();
  image_size_ = first.size;
  for (const Episode& episode : episodes_) {
    require(episode.size == image_size_, ErrorCategory::bad_file,
            episode.frames.string() + ": frames are " + std::to_string(episode.size.width) + "x" +
                std::to_string(episode.size.height) + ", but those of " + first.name + " are " +
                std::to_string(image_size_.width) + "x" + std::to_string(image_size_.height) +
                "; choose one size with DatasetOptions.video.height and width");
    for (const auto& column :
         first.table.columns) {  // text in some episodes: not a column of numbers
      if (episode.table.skipped.contains(column)) continue;
      episode.table.column(column);
    }
  }
  for (const auto& column : first.table.columns) {
    const bool numbers = std::none_of(
        episodes_.begin(), episodes_.end(),
        [&](const Episode& episode) { return episode.table.skipped.contains(column); });
    if (numbers) columns_.push_back(column);
  }
  for (const auto& [column, words] : first.table.texts) {
    const bool everywhere =
        std::all_of(episodes_.begin(), episodes_.end(),
                    [&](const Episode& episode) { return episode.table.texts.contains(column); });
    if (everywhere) text_columns_.push_back(column);
  }
  if (action_columns_.empty()) action_columns_ = prefixed("action_");
  if (state_columns_.empty()) state_columns_ = prefixed("state_");
  require(!action_columns_.empty(), ErrorCategory::bad_file,
          name_ +
              ": no action columns; name them in dataset.json (\"action_columns\") or call them "
              "action_0, action_1, ... Columns: " +
              listed_names(columns_));
  for (const Episode& episode : episodes_) {
    for (const auto& column : action_columns_) episode.table.column(column);
    for (const auto& column : state_columns_) {
      const Tensor values = episode.table.values.select(1, episode.table.column(column));
      const Tensor missing = at::isnan(values);
      if (!missing.any().item<bool>()) continue;
      throw Error(ErrorCategory::bad_file,
                  episode.table.name + ":" +
                      std::to_string(missing.nonzero()[0][0].item<int64_t>() + 2) +
                      ": state column '" + column + "' has no value");
    }
  }
  if (options_.fps > 0) fps_ = options_.fps;
  if (fps_ > 0) return;
  for (const Episode& episode : episodes_) {  // one-frame videos have no rate
    fps_ = episode.rate;
    if (fps_ > 0) return;
  }
  fps_ = rate_of_timestamps();
}

int64_t FolderDataset::length(int64_t episode) const {
  if (episode < 0 || episode >= num_episodes())
    throw Error(ErrorCategory::invalid_argument, name_ + ": episode " + std::to_string(episode) +
                                                     " does not exist, accepted: 0.." +
                                                     std::to_string(num_episodes() - 1));
  return episodes_[static_cast<std::size_t>(episode)].length;
}

std::string FolderDataset::episode_name(int64_t episode) const {
  length(episode);  // checks the range
  return episodes_[static_cast<std::size_t>(episode)].name;
}

Tensor FolderDataset::read_rows(const std::vector<std::string>& columns, int64_t episode,
                                int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  const CsvTable& table = episodes_[static_cast<std::size_t>(episode)].table;
  Tensor rows = at::empty({count, static_cast<int64_t>(columns.size())}, at::kDouble);
  const auto* source = table.values.const_data_ptr<double>();
  auto* target = rows.mutable_data_ptr<double>();
  const int64_t width = table.values.size(1), n = rows.size(1);
  for (int64_t c = 0; c < n; ++c) {
    const int64_t from = table.column(columns[static_cast<std::size_t>(c)]);
    for (int64_t r = 0; r < count; ++r) target[r * n + c] = source[(first + r) * width + from];
  }
  return rows;
}

Tensor FolderDataset::read_stored(const std::vector<std::string>& columns, int64_t episode,
                                  int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  const auto type = stored_type(columns);
  const Tensor values = read_rows(columns, episode, first, count).to(type);
  const auto& whole = episodes_[static_cast<std::size_t>(episode)].table.whole;
  for (std::size_t c = 0; c < columns.size(); ++c)
    if (const auto found = whole.find(columns[c]); type == at::kLong && found != whole.end())
      values.select(1, static_cast<int64_t>(c)).copy_(found->second.narrow(0, first, count));
  return values;
}

std::vector<ColumnGroup> FolderDataset::groups() const { return groups_by_stem(columns_, shapes_); }

std::vector<std::string> FolderDataset::remarks() const {
  std::vector<std::string> all;
  for (const auto& episode : episodes_)
    all.insert(all.end(), episode.remarks.begin(), episode.remarks.end());
  return all;
}

// Whole numbers everywhere, in a column or group where some are beyond what float64 holds.
bool FolderDataset::is_whole(const std::string& column) const {
  const bool large = std::any_of(episodes_.begin(), episodes_.end(), [&](const Episode& episode) {
    return std::any_of(
        episode.table.whole.begin(), episode.table.whole.end(),
        [&](const auto& one) { return column_stem(one.first) == column_stem(column); });
  });
  return large && std::all_of(episodes_.begin(), episodes_.end(), [&](const Episode& episode) {
           if (episode.table.whole.contains(column)) return true;
           const Tensor values = episode.table.values.select(1, episode.table.column(column));
           return (values == values.trunc()).all().item<bool>() &&
                  values.abs().max().item<double>() < kLargestExact;
         });
}

// From the median step of the column `timestamp`, seconds; 0 where that tells none.
double FolderDataset::rate_of_timestamps() const {
  if (std::find(columns_.begin(), columns_.end(), "timestamp") == columns_.end()) return 0;
  for (const Episode& episode : episodes_) {
    if (episode.length < 2) continue;
    const Tensor times = episode.table.values.select(1, episode.table.column("timestamp"));
    const auto step = at::diff(times).median().item<double>();
    return step > 0 ? std::round(1e6 / step) / 1e6 : 0;  // NaN is not > 0
  }
  return 0;
}

at::ScalarType FolderDataset::column_type(const std::string& column) const {
  const std::lock_guard lock(types_mutex_);
  auto known = types_.find(column);
  if (known == types_.end()) known = types_.emplace(column, found_type(column)).first;
  return known->second;
}

// From all its numbers.
at::ScalarType FolderDataset::found_type(const std::string& column) const {
  if (is_whole(column)) return at::kLong;
  for (const Episode& episode : episodes_) {
    const Tensor values = episode.table.values.select(1, episode.table.column(column)).contiguous();
    const auto* value = values.const_data_ptr<double>();
    for (int64_t r = 0; r < values.numel(); ++r) {
      if (std::isnan(value[r])) continue;
      const std::string single = number_text(static_cast<float>(value[r]));
      if (std::strtod(single.c_str(), nullptr) != value[r]) return at::kDouble;
    }
  }
  return at::kFloat;
}

std::vector<std::string> FolderDataset::read_text(const std::string& column, int64_t episode,
                                                  int64_t first, int64_t count) const {
  check_rows(episode, first, count);
  require(
      std::find(text_columns_.begin(), text_columns_.end(), column) != text_columns_.end(),
      ErrorCategory::not_found,
      name_ + ": no column of words '" + column + "'. There are: " + listed_names(text_columns_));
  const auto& words = episodes_[static_cast<std::size_t>(episode)].table.texts.at(column);
  return {words.begin() + first, words.begin() + first + count};
}

Tensor FolderDataset::read_frames(int64_t episode, at::IntArrayRef indices) const {
  const int64_t rows = length(episode);
  for (int64_t index : indices)
    if (index < 0 || index >= rows) check_rows(episode, index, 1);
  return frames_->read(episode, indices);
}

void FolderDataset::announce_frames(int64_t episode, at::IntArrayRef indices) const {
  const int64_t rows = length(episode);
  for (int64_t index : indices)
    if (index < 0 || index >= rows) return;
  frames_->announce(episode, indices);
}

}  // namespace foresight::data
