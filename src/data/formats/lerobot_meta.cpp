// SPDX-License-Identifier: Apache-2.0
#include "lerobot_meta.hpp"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <optional>
#include <type_traits>

#include "../tables/json_lines.hpp"
#include "../tables/parquet_file.hpp"
#include "episode_files.hpp"
#include "recorded_splits.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr int64_t kMostEpisodes = 100'000'000;
constexpr uint64_t kLargestInt64 = std::numeric_limits<int64_t>::max();

[[noreturn]] void fail_meta(const fs::path& file, const std::string& what) {
  throw Error(ErrorCategory::bad_file, file.string() + ": " + what);
}

// Of an integer, or of a float that is one; nothing of anything else.
std::optional<int64_t> whole_number(const Json& value) {
  constexpr double kExact = 9007199254740992;  // 2^53
  if (value.is_number_unsigned() && value.get<uint64_t>() > kLargestInt64) return std::nullopt;
  if (value.is_number_integer()) return value.get<int64_t>();
  const double number = value.is_number_float() ? value.get<double>() : std::nan("");
  if (!(std::abs(number) <= kExact) || number != std::trunc(number)) return std::nullopt;
  return static_cast<int64_t>(number);
}

// object[key] of a JSON type, or an error that names file and key.
template <class Value>
Value json_field(const Json& object, const char* key, const fs::path& file) {
  const auto it = object.find(key);
  if (it == object.end()) fail_meta(file, std::string("key '") + key + "' is missing");
  if constexpr (std::is_same_v<Value, int64_t>) {
    if (const auto whole = whole_number(*it)) return *whole;
    const auto told = it->is_number_float() ? std::to_string(it->get<double>()) : it->dump();
    fail_meta(file,
              std::string("key '") + key + "' = " + told.substr(0, 60) + " is no whole number");
  }
  try {
    return it->get<Value>();
  } catch (const Json::exception&) {
    fail_meta(file, std::string("key '") + key + "' = " + it->dump().substr(0, 60) +
                        " is of the wrong type");
  }
}

// ["dx", "dy"], or of older sets {"motors": ["dx", "dy"]}; nothing where they are not of `width`
// numbers: of a picture they are of its sizes.
std::vector<std::string> names_of_numbers(const Json& told, int64_t width) {
  const Json& list = told.is_object() && told.size() == 1 ? told.front() : told;
  if (!list.is_array() || std::ssize(list) != width) return {};
  const bool words =
      std::all_of(list.begin(), list.end(), [](const Json& name) { return name.is_string(); });
  return words ? list.get<std::vector<std::string>>() : std::vector<std::string>();
}

std::vector<LeRobotFeature> read_features(const Json& info, const fs::path& file) {
  const Json features = json_field<Json>(info, "features", file);
  if (!features.is_object()) fail_meta(file, "key 'features' is not an object");
  std::vector<LeRobotFeature> all;
  for (const auto& [name, feature] : features.items()) {
    if (!feature.is_object()) fail_meta(file, "feature '" + name + "' is not an object");
    LeRobotFeature one{.name = name, .dtype = json_field<std::string>(feature, "dtype", file)};
    const auto shape = feature.value("shape", Json::array());
    for (const auto& size : shape) {
      if (!size.is_number_integer() || size < 0 || size > 100000)
        fail_meta(file, "feature '" + name + "' has shape " + shape.dump());
      one.shape.push_back(size.get<int64_t>());
      if (one.dtype != "video" && one.dtype != "image") one.width *= one.shape.back();
      if (one.width > 1000000) fail_meta(file, "feature '" + name + "' has shape " + shape.dump());
    }
    const auto says_depth = [&feature = feature](const char* where, const char* key) {
      return feature.contains(where) && feature[where].is_object() &&
             feature[where].value(key, Json()) == true;
    };
    one.depth = says_depth("info", "is_depth_map") || says_depth("info", "video.is_depth_map") ||
                says_depth("video_info", "video.is_depth_map");
    one.names = names_of_numbers(feature.value("names", Json()), one.width);
    all.push_back(std::move(one));
  }
  return all;
}

// What both versions need while their episodes are listed.
struct Layout {
  fs::path root, info;
  std::string data_path = {}, video_path = {};
  int64_t chunk_size = 1000;
  std::vector<std::string> videos = {};  // features
};

std::vector<int64_t> whole_numbers(const ParquetFile& file, const std::string& column) {
  const Tensor values = file.numbers(column, 1).to(at::kLong).contiguous();
  const auto* first = values.const_data_ptr<int64_t>();
  return {first, first + values.numel()};
}

// One file of meta/episodes. Statistics are most of its columns; they are not read.
void read_episode_rows(const fs::path& path, const Layout& layout,
                       std::map<int64_t, LeRobotEpisode>& episodes) {
  const ParquetFile file(path);
  const auto index = whole_numbers(file, "episode_index");
  const auto length = whole_numbers(file, "length");
  const auto chunk = whole_numbers(file, "data/chunk_index");
  const auto number = whole_numbers(file, "data/file_index");
  std::map<std::string, std::pair<std::vector<int64_t>, std::vector<int64_t>>> places;
  std::map<std::string, Tensor> starts;
  for (const auto& key : layout.videos) {
    const std::string prefix = "videos/" + key + "/";
    places[key] = {whole_numbers(file, prefix + "chunk_index"),
                   whole_numbers(file, prefix + "file_index")};
    starts[key] = file.numbers(prefix + "from_timestamp", 1).to(at::kDouble).contiguous();
  }
  for (std::size_t i = 0; i < index.size(); ++i) {
    LeRobotEpisode episode{.length = length[i]};
    episode.data = fill_lerobot_path(layout.root, layout.data_path,
                                     {{"chunk_index", chunk[i]}, {"file_index", number[i]}});
    for (const auto& key : layout.videos) {
      const auto& [chunks, files] = places[key];
      episode.videos[key] = {
          fill_lerobot_path(layout.root, layout.video_path,
                            {{"chunk_index", chunks[i]}, {"file_index", files[i]}}, key),
          starts[key].const_data_ptr<double>()[i]};
    }
    if (!episodes.emplace(index[i], std::move(episode)).second)
      fail_meta(path, "episode_index " + std::to_string(index[i]) + " is there twice");
  }
}

std::map<int64_t, LeRobotEpisode> read_episodes_v3(const Layout& layout) {
  const auto files = lerobot_episode_files(layout.root);
  require(!files.empty(), ErrorCategory::not_found,
          (layout.root / "meta" / "episodes").string() + ": no Parquet file that lists episodes");
  std::map<int64_t, LeRobotEpisode> episodes;
  for (const auto& file : files) read_episode_rows(file, layout, episodes);
  return episodes;
}

std::map<int64_t, LeRobotEpisode> read_episodes_v2(const Layout& layout) {
  const fs::path path = layout.root / "meta" / "episodes.jsonl";
  std::map<int64_t, LeRobotEpisode> episodes;
  for (const auto& line : read_json_lines(path)) {
    const auto index = json_field<int64_t>(line, "episode_index", path);
    const std::map<std::string, int64_t> fields = {{"episode_chunk", index / layout.chunk_size},
                                                   {"episode_index", index}};
    LeRobotEpisode episode{.length = json_field<int64_t>(line, "length", path)};
    episode.data = fill_lerobot_path(layout.root, layout.data_path, fields);
    for (const auto& key : layout.videos)
      episode.videos[key] = {fill_lerobot_path(layout.root, layout.video_path, fields, key), 0};
    if (!episodes.emplace(index, std::move(episode)).second)
      fail_meta(path, "episode_index " + std::to_string(index) + " is there twice");
  }
  return episodes;
}

// The text is the index of a pandas frame, whose name depends on the writer's release.
std::map<int64_t, std::string> read_tasks(const fs::path& meta) {
  std::map<int64_t, std::string> tasks;
  if (fs::exists(meta / "tasks.jsonl")) {
    for (const auto& line : read_json_lines(meta / "tasks.jsonl"))
      tasks[json_field<int64_t>(line, "task_index", meta / "tasks.jsonl")] =
          json_field<std::string>(line, "task", meta / "tasks.jsonl");
  } else if (fs::exists(meta / "tasks.parquet")) {
    const ParquetFile file(meta / "tasks.parquet");
    const auto index = whole_numbers(file, "task_index");
    const auto texts = file.texts(file.has("task") ? "task" : "__index_level_0__");
    for (std::size_t i = 0; i < index.size(); ++i) tasks[index[i]] = texts.at(i);
  }
  return tasks;
}

// Nothing but words about the recording: it opens without them.
void read_notes(const fs::path& file, LeRobotMeta& meta) {
  if (!fs::exists(file)) return;
  try {
    const Json notes = io::read_json(file);
    if (!notes.is_object()) fail_meta(file, "is not a JSON object");
    meta.notes = notes_in(notes);
  } catch (const Error& problem) {
    meta.remarks.push_back(std::string(problem.what()) + ". The recording's notes are left out");
  }
}

// A set that was cut, or to which somebody has added, may tell another size than it has.
void compare_totals(const Json& info, const fs::path& file, LeRobotMeta& meta) {
  int64_t frames = 0;
  for (const auto& episode : meta.episodes) frames += episode.length;
  const auto compare = [&](const char* key, int64_t there) {
    const auto told = info.find(key);
    if (told == info.end() || whole_number(*told) == there) return;
    meta.remarks.push_back(file.string() + ": " + key + " = " + told->dump().substr(0, 60) +
                           ", but meta/ lists " + std::to_string(there) +
                           "; those that it lists are read");
  };
  compare("total_episodes", std::ssize(meta.episodes));
  compare("total_frames", frames);
}

}  // namespace

std::vector<fs::path> lerobot_episode_files(const fs::path& root) {
  std::vector<fs::path> files;
  const auto folder = root / "meta" / "episodes";
  if (!fs::is_directory(folder)) return files;
  for (fs::recursive_directory_iterator entry(folder), end; entry != end; ++entry) {
    const bool hidden = is_hidden(entry->path());
    if (hidden) entry.disable_recursion_pending();
    if (!hidden && entry->path().extension() == ".parquet") files.push_back(entry->path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

fs::path fill_lerobot_path(const fs::path& root, const std::string& path_template,
                           const std::map<std::string, int64_t>& numbers,
                           const std::string& video_key) {
  const auto refuse = [&](const std::string& what) {
    fail_meta(root / "meta" / "info.json", "path '" + path_template + "' " + what);
  };
  std::string path;
  for (std::size_t at = 0; at < path_template.size();) {
    if (path_template[at] != '{') {
      path += path_template[at++];
      continue;
    }
    const auto end = path_template.find('}', at);
    if (end == std::string::npos) refuse("has an open brace");
    const std::string field = path_template.substr(at + 1, end - at - 1);
    const auto colon = field.find(':');
    const std::string name = field.substr(0, colon);
    std::size_t digits = 0;
    if (colon != std::string::npos) {  // "03d"
      const char* last = field.data() + field.size();
      const auto [stop, code] = std::from_chars(field.data() + colon + 1, last, digits);
      if (code != std::errc() || stop + 1 != last || *stop != 'd' || digits > 20)
        refuse("has the format '" + field.substr(colon + 1) + "', accepted: e.g. 03d");
    }
    if (const auto number = numbers.find(name); number != numbers.end()) {
      if (number->second < 0) refuse("would get a negative " + name);
      const std::string text = std::to_string(number->second);
      path += std::string(digits > text.size() ? digits - text.size() : 0, '0') + text;
    } else if (name == "video_key" && !video_key.empty()) {
      path += video_key;
    } else {
      refuse("has the unknown field '" + name + "'");
    }
    at = end + 1;
  }
  const fs::path relative = fs::path(path).lexically_normal();
  if (relative.empty() || relative.is_absolute() || *relative.begin() == "..")
    refuse("leads outside the data set");
  return root / relative;
}

std::vector<int64_t> lerobot_split(const fs::path& root, const std::string& name,
                                   const std::string& range, int64_t count) {
  const auto named = parsed_lerobot_range(range);
  if (!named || named->second > count)
    fail_meta(root / "meta" / "info.json",
              "split '" + name + "' = '" + range +
                  "' is not FIRST:END of the episodes 0:" + std::to_string(count));
  std::vector<int64_t> episodes;
  for (int64_t e = named->first; e < named->second; ++e) episodes.push_back(e);
  return episodes;
}

LeRobotMeta read_lerobot_meta(const fs::path& root) {
  Layout layout{.root = root, .info = root / "meta" / "info.json"};
  const Json info = io::read_json(layout.info);
  if (!info.is_object()) fail_meta(layout.info, "is not a JSON object");
  LeRobotMeta meta;
  meta.version = json_field<std::string>(info, "codebase_version", layout.info);
  const bool v2 = meta.version == "v2.1" || meta.version == "v2.0";
  require(v2 || meta.version == "v3.0", ErrorCategory::unsupported,
          layout.info.string() + ": codebase_version = '" + meta.version +
              "', versions read: v2.0, v2.1, v3.0");
  meta.fps = json_field<double>(info, "fps", layout.info);
  if (!(meta.fps > 0) || !std::isfinite(meta.fps))
    fail_meta(layout.info, "fps = " + std::to_string(meta.fps) + " must be > 0");
  meta.features = read_features(info, layout.info);
  layout.data_path = json_field<std::string>(info, "data_path", layout.info);
  for (const auto& feature : meta.features)
    if (feature.dtype == "video") layout.videos.push_back(feature.name);
  if (!layout.videos.empty())
    layout.video_path = json_field<std::string>(info, "video_path", layout.info);
  if (info.contains("chunks_size"))
    layout.chunk_size = json_field<int64_t>(info, "chunks_size", layout.info);
  if (layout.chunk_size < 1) fail_meta(layout.info, "chunks_size must be >= 1");
  if (const auto robot = info.value("robot_type", Json()); robot.is_string() && robot != "")
    meta.robot_type = robot.get<std::string>();
  meta.splits = splits_in(info);
  meta.tasks = read_tasks(root / "meta");
  read_notes(root / kLeRobotNotes, meta);
  auto episodes = v2 ? read_episodes_v2(layout) : read_episodes_v3(layout);
  for (auto& [index, episode] : episodes) {
    if (index != static_cast<int64_t>(meta.episodes.size()) || index >= kMostEpisodes)
      fail_meta(root / "meta", "lists episode " + std::to_string(index) + " after " +
                                   std::to_string(meta.episodes.size()) + " episode(s) from 0");
    if (episode.length < 1 || episode.length > (int64_t{1} << 40))
      fail_meta(root / "meta", "episode " + std::to_string(index) + " has length " +
                                   std::to_string(episode.length));
    meta.episodes.push_back(std::move(episode));
  }
  compare_totals(info, layout.info, meta);
  return meta;
}

}  // namespace foresight::data
