// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <list>
#include <map>
#include <mutex>
#include <nlohmann/json.hpp>

#include "episode_files.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "parallel.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

std::string listed(const std::vector<std::string>& names) {
  std::string text;
  for (const auto& name : names) text += (text.empty() ? "" : ", ") + name;
  return text.empty() ? "none" : text;
}

}  // namespace

/// Open readers that nobody is using. A reader is taken out while it reads, so each is used by one
/// thread at a time; when two threads want the same episode, a second reader is opened.
struct FolderDataset::ReaderPool {
  static constexpr std::size_t kIdle =
      16;  // file handles and decoder memory, against reopening files

  std::mutex mutex;
  std::list<std::pair<int64_t, std::unique_ptr<VideoReader>>> idle;  // most recently used first

  std::unique_ptr<VideoReader> take(int64_t episode) {
    const std::lock_guard lock(mutex);
    for (auto it = idle.begin(); it != idle.end(); ++it) {
      if (it->first != episode) continue;
      auto reader = std::move(it->second);
      idle.erase(it);
      return reader;
    }
    return nullptr;
  }

  void give_back(int64_t episode, std::unique_ptr<VideoReader> reader) {
    std::unique_ptr<VideoReader> oldest;  // closed outside the lock
    const std::lock_guard lock(mutex);
    idle.emplace_front(episode, std::move(reader));
    if (idle.size() <= kIdle) return;
    oldest = std::move(idle.back().second);
    idle.pop_back();
  }
};

FolderDataset::FolderDataset(const fs::path& folder, const DatasetOptions& options)
    : name_(folder.string()), options_(options), readers_(std::make_unique<ReaderPool>()) {
  require_valid(options);
  require(fs::is_directory(folder), ErrorCategory::not_found, name_ + ": no such folder");
  find_episodes(folder);
  read_settings(folder / "dataset.json");
  open_episodes();
  agree();
}

FolderDataset::~FolderDataset() = default;

void FolderDataset::find_episodes(const fs::path& folder) {
  std::map<int64_t, std::pair<fs::path, fs::path>> found;  // number -> video, table
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    const auto number = episode_number(path.stem().string());
    if (!number || !(is_video_file(path) || path.extension() == ".csv")) continue;
    auto& [video, table] = found[*number];
    fs::path& place = is_video_file(path) ? video : table;
    require(
        place.empty(), ErrorCategory::bad_file,
        path.string() + " and " + place.string() + " are both episode " + std::to_string(*number));
    place = path;
  }
  require(!found.empty(), ErrorCategory::not_found,
          name_ + ": holds no episode, expected episode_0000.mp4, episode_0000.csv, ...");
  for (const auto& [number, files] : found) {
    const auto& [video, table] = files;
    require(!video.empty(), ErrorCategory::not_found,
            table.string() + ": the video of this table is missing (" + table.stem().string() +
                ".mp4)");
    require(!table.empty(), ErrorCategory::not_found,
            video.string() + ": the table of this video is missing (" + video.stem().string() +
                ".csv)");
    Episode episode;
    episode.name = video.stem().string();
    episode.video = video;
    episode.table.name = table.string();
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
  int64_t episodes = num_episodes();
  read("episodes", episodes);
  if (episodes != num_episodes())
    log(LogLevel::warning, file.string() + ": episodes = " + std::to_string(episodes) + ", but " +
                               std::to_string(num_episodes()) + " are in the folder");
}

void FolderDataset::open_episodes() {
  parallel_for(num_episodes(), options_.threads,
               [this](int64_t e) { open_episode(episodes_[static_cast<std::size_t>(e)]); });
}

void FolderDataset::open_episode(Episode& episode) const {
  const std::string table = episode.table.name;
  episode.table = read_csv(table, {.nan = NanPolicy::accept, .text = TextPolicy::skip});
  const VideoReader reader(episode.video.string(), options_.video);
  const int64_t rows = episode.table.rows(), frames = reader.num_frames();
  require(std::abs(rows - frames) <= options_.tail_mismatch, ErrorCategory::bad_file,
          table + ": has " + std::to_string(rows) + " rows, but its video " +
              episode.video.string() + " has " + std::to_string(frames) +
              " frames; one row a frame is required (" +
              "DatasetOptions.tail_mismatch = " + std::to_string(options_.tail_mismatch) + ")");
  episode.length = std::min(rows, frames);
  require(episode.length > 0, ErrorCategory::bad_file, table + ": has no rows");
  episode.size = {reader.info().height, reader.info().width};
  episode.rate = reader.info().average_rate;
  if (!reader.info().constant_rate)
    log(LogLevel::warning,
        episode.video.string() +
            ": frames are not equally spaced in time; rows are matched by frame number");
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
            episode.video.string() + ": frames are " + std::to_string(episode.size.width) + "x" +
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
  if (action_columns_.empty()) action_columns_ = prefixed("action_");
  if (state_columns_.empty()) state_columns_ = prefixed("state_");
  require(!action_columns_.empty(), ErrorCategory::bad_file,
          name_ +
              ": no action columns; name them in dataset.json (\"action_columns\") or call them "
              "action_0, action_1, ... Columns: " +
              listed(columns_));
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
  if (fps_ > 0) return;
  for (const Episode& episode : episodes_) {  // one-frame videos have no rate
    fps_ = episode.rate;
    if (fps_ > 0) return;
  }
  throw Error(ErrorCategory::bad_file,
              name_ + ": no video tells a frame rate; set \"fps\" in dataset.json");
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

Tensor FolderDataset::read_frames(int64_t episode, at::IntArrayRef indices) const {
  const int64_t rows = length(episode);
  for (int64_t index : indices)
    if (index < 0 || index >= rows) check_rows(episode, index, 1);
  auto reader = readers_->take(episode);
  if (!reader)
    reader = std::make_unique<VideoReader>(
        episodes_[static_cast<std::size_t>(episode)].video.string(), options_.video);
  Tensor frames = reader->frames(indices);
  readers_->give_back(episode, std::move(reader));
  return frames;
}

}  // namespace foresight::data
