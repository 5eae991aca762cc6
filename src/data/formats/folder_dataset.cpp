// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/folder_dataset.hpp"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>

#include "../parallel.hpp"
#include "../tables/column_stem.hpp"
#include "../tables/whole_numbers.hpp"
#include "../video/picture.hpp"
#include "../video/video_frames.hpp"
#include "columnar_dataset.hpp"
#include "episode_files.hpp"
#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/json_file.hpp"
#include "number_types.hpp"
#include "recorded_notes.hpp"
#include "recorded_splits.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

constexpr const char* kOnlyCamera = "pixels";

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

// {"done": "bool"} of dataset.json.
std::map<std::string, at::ScalarType> told_types(const nlohmann::json& types,
                                                 const std::string& where) {
  require(types.is_object(), ErrorCategory::bad_file, where + " is not a JSON object");
  std::map<std::string, at::ScalarType> told;
  for (const auto& [column, name] : types.items()) {
    const auto type = name.is_string() ? number_type(name.get<std::string>()) : std::nullopt;
    require(type.has_value(), ErrorCategory::bad_file,
            where + ": " + column + " = " + name.dump() +
                " must be one of float32, float64, int64, bool");
    told[column] = *type;
  }
  return told;
}

// Forgets the last episode where it has no table and dataset.json does not count it: its writer was
// killed between the two, and the next one clears it away. Returns what is to be said of it.
std::string leave_out_unfinished(std::map<int64_t, EpisodeParts>& found, const fs::path& folder) {
  const auto settings = folder / "dataset.json";
  if (found.size() < 2 || !found.rbegin()->second.table.empty() || !fs::exists(settings)) return {};
  const nlohmann::json told = io::read_json(settings);
  const bool counted = !told.is_object() || !told.contains("episodes") ||
                       !told["episodes"].is_number_integer() || told["episodes"] >= found.size();
  if (counted) return {};
  const auto last = std::prev(found.end());
  const auto film = last->second.cameras.begin()->second.string();
  found.erase(last);
  return film + ": of an episode that was not finished (it has no table), left out";
}

// dataset.json is written before the first episode's films, its table after them.
void require_some_table(const std::map<int64_t, EpisodeParts>& found, const fs::path& folder) {
  const bool none = std::all_of(found.begin(), found.end(),
                                [](const auto& one) { return one.second.table.empty(); });
  if (found.empty() || !none || !fs::exists(folder / "dataset.json")) return;
  auto journal = (folder / "").parent_path();
  journal += ".unfinished";
  throw Error(
      ErrorCategory::not_found,
      folder.string() + ": holds films and no table (the first is " +
          found.begin()->second.cameras.begin()->second.string() +
          "): a recorder was stopped before its first episode was finished. Recording "
          "into the folder again " +
          (fs::exists(journal) ? "makes an episode of the rows that are kept in " + journal.string()
                               : std::string("clears them away")) +
          "; without dataset.json they are read as films alone, without actions");
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
  unfinished_ = leave_out_unfinished(found, folder);
  require_some_table(found, folder);
  require(!found.empty(), ErrorCategory::not_found,
          name_ + ": holds no episode, expected episode_0000.mp4, episode_0000.csv, ...");
  const bool skip = options_.unreadable == Unreadable::skip;
  for (const auto& [number, parts] : found)
    require(!parts.cameras.empty() || skip, ErrorCategory::not_found,
            parts.table.string() + ": the video of this table is missing (" +
                parts.table.stem().string() +
                ".mp4); with DatasetOptions.unreadable = skip (--reading.unreadable skip) the "
                "episode is kept without frames");
  const auto shown = std::find_if(found.begin(), found.end(), [](const auto& episode) {
    return !episode.second.cameras.empty();
  });
  require(shown != found.end(), ErrorCategory::not_found,
          name_ + ": the videos of all tables are missing");
  for (const auto& [camera, path] : shown->second.cameras) cameras_.push_back(camera);
  camera_ = chosen_camera(name_, cameras_, options_);
  for (const auto& [number, parts] : found) {
    const auto frames = parts.cameras.find(camera_);
    Episode episode;
    if (frames != parts.cameras.end()) {
      episode.frames = frames->second;
    } else {
      if (!parts.cameras.empty()) {
        const auto other = parts.cameras.begin()->second.string();
        require(skip && !parts.table.empty(), ErrorCategory::not_found,
                other + ": its episode has no camera '" + camera_ + "', but the first one has");
      }
      episode.frames = parts.table;
      episode.problem =
          parts.table.string() + ": camera '" + camera_ + "' of its episode is missing";
    }
    const std::string stem = episode.frames.filename().string();
    episode.name = stem.substr(0, stem.find('.'));
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
  notes_ = notes_in(settings);
  splits_ = splits_in(settings);
  names_ = names_in(settings);
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
  if (const auto types = settings.find("types"); types != settings.end())
    types_ = told_types(*types, file.string() + ": types");
  int64_t episodes = num_episodes();
  read("episodes", episodes);
  if (episodes != num_episodes())
    log(LogLevel::warning, file.string() + ": episodes = " + std::to_string(episodes) + ", but " +
                               std::to_string(num_episodes()) + " are in the folder");
}

void FolderDataset::open_episodes() {
  parallel_for(num_episodes(), options_.threads,
               [this](int64_t e) { open_episode(episodes_[static_cast<std::size_t>(e)]); });
  for (const auto& [episode, problem] : unreadable_episodes()) log(LogLevel::warning, problem);
  for (const auto& remark : remarks()) log(LogLevel::warning, remark);
}

void FolderDataset::open_episode(Episode& episode) const {
  const std::string table = episode.table.name;
  const CsvOptions reading{.nan = NanPolicy::accept, .text = TextPolicy::skip};
  episode.table =
      small_extension(table) == ".jsonl" ? read_jsonl(table, reading) : read_csv(table, reading);
  try {
    if (episode.problem.empty()) open_frames_of(episode);
  } catch (const Error& problem) {
    if (options_.unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
    episode.problem = problem.what();
  }
  // Whatever its frames are, the episode keeps its rows, and all windows their numbers.
  if (!episode.problem.empty()) episode.length = episode.table.rows();
  require(episode.length > 0, ErrorCategory::bad_file, table + ": has no rows");
}

// The first whose frames can be read.
const FolderDataset::Episode& FolderDataset::shown() const {
  for (const Episode& episode : episodes_)
    if (episode.problem.empty()) return episode;
  throw Error(ErrorCategory::bad_file,
              name_ + ": no episode's frames can be read, the first: " + episodes_.front().problem);
}

void FolderDataset::open_frames() {
  const bool pictures = !shown().pictures.empty();
  std::vector<EpisodeClip> clips;
  std::vector<std::vector<fs::path>> files;
  std::vector<std::vector<FileStamp>> stamps;
  for (const Episode& episode : episodes_) {
    const bool readable = episode.problem.empty();
    require(!readable || episode.pictures.empty() != pictures, ErrorCategory::bad_file,
            episode.frames.string() + ": one of pictures and video, but " +
                shown().frames.string() + " is the other");
    clips.push_back(readable ? EpisodeClip{.file = episode.frames,
                                           .frames = episode.frame_of_row,
                                           .table = episode.frame_table}
                             : EpisodeClip{});
    files.push_back(episode.pictures);
    stamps.emplace_back();
    if (!readable) continue;
    for (const auto& picture : episode.pictures) stamps.back().push_back(file_stamp(picture));
  }
  if (!pictures) {
    frames_ = video_frames(std::move(clips), {}, options_.video, options_.unreadable);
    image_size_ = frames_->size();
    return;
  }
  const auto file = [files](int64_t episode, int64_t row) {
    return files[static_cast<std::size_t>(episode)][static_cast<std::size_t>(row)].string();
  };
  frames_ = picture_file_frames(file, std::move(stamps), options_.video, options_.unreadable);
  image_size_ = frames_->size();
}

void FolderDataset::agree() {
  const Episode& first = episodes_.front();
  image_size_ = shown().size;
  for (const Episode& episode : episodes_) {
    require(episode.size == image_size_ || !episode.problem.empty(), ErrorCategory::bad_file,
            episode.frames.string() + ": frames are " + std::to_string(episode.size.width) + "x" +
                std::to_string(episode.size.height) + ", but those of " + shown().name + " are " +
                std::to_string(image_size_.width) + "x" + std::to_string(image_size_.height) +
                "; choose one size with DatasetOptions.video.height and .width "
                "(--reading.video.height and .width)");
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
        std::all_of(episodes_.begin(), episodes_.end(), [&column = column](const Episode& episode) {
          return episode.table.texts.contains(column);
        });
    if (everywhere) text_columns_.push_back(column);
  }
  look_for_left_out();
  action_columns_ = action_columns_.empty() ? prefixed("action") : columns_of(action_columns_);
  state_columns_ = state_columns_.empty() ? prefixed("state") : columns_of(state_columns_);
  require(!action_columns_.empty(), ErrorCategory::bad_file,
          name_ +
              ": no action columns; name them in dataset.json (\"action_columns\") or call them "
              "action_0, action_1, ..., or action. Columns: " +
              listed_names(columns_));
  for (const Episode& episode : episodes_) {
    const auto numbers = [&](const std::string& column) {
      return episode.table.values.select(1, episode.table.column(column));
    };
    // Nothing can be learned from a row that is `wrong`: only inspect() sees it.
    const auto refuse = [&](const std::string& what, const Tensor& values, const Tensor& wrong) {
      if (options_.missing_states == NanPolicy::accept || !wrong.any().item<bool>()) return;
      const auto row = wrong.nonzero()[0][0].item<int64_t>();
      throw Error(ErrorCategory::bad_file,
                  episode.table.name + ":" + std::to_string(row + 2) + ": " + what +
                      (std::isnan(values[row].item<double>()) ? " has no value" : " is infinite"));
    };
    for (const auto& column : action_columns_) {  // where no action was applied it is NaN
      const Tensor values = numbers(column);
      refuse("action column '" + column + "'", values, at::isinf(values));
    }
    for (const auto& column : state_columns_) {
      const Tensor values = numbers(column);
      refuse("state column '" + column + "'", values, at::isfinite(values).logical_not());
    }
  }
  check_types();
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

Tensor FolderDataset::read_frames(int64_t episode, at::IntArrayRef indices) const {
  const int64_t rows = length(episode);
  for (int64_t index : indices)
    if (index < 0 || index >= rows) check_rows(episode, index, 1);
  const auto& problem = episodes_[static_cast<std::size_t>(episode)].problem;
  require(problem.empty(), ErrorCategory::bad_file, problem);
  return frames_->read(episode, indices);
}

void FolderDataset::announce_frames(int64_t episode, at::IntArrayRef indices) const {
  const int64_t rows = length(episode);
  for (int64_t index : indices)
    if (index < 0 || index >= rows) return;
  if (!episodes_[static_cast<std::size_t>(episode)].problem.empty()) return;
  frames_->announce(episode, indices);
}

void FolderDataset::identify_frames(Fnv1a& hash) const {
  identify_decoding(hash);
  frames_->identify(hash);
}

void FolderDataset::identify_decoding(Fnv1a& hash) const { add_decoding(hash, options_.video); }

bool FolderDataset::identify_pictures(int64_t episode, PictureEvidence evidence,
                                      Fnv1a& hash) const {
  const int64_t rows = length(episode);
  return episodes_[static_cast<std::size_t>(episode)].problem.empty() &&
         frames_->identify_pictures(episode, rows, evidence, hash);
}

}  // namespace foresight::data
