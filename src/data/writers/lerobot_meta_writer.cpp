// SPDX-License-Identifier: Apache-2.0
#include "lerobot_meta_writer.hpp"

#include <algorithm>

#include "../episode_selection.hpp"
#include "../formats/lerobot_layout.hpp"
#include "../formats/lerobot_meta.hpp"
#include "../formats/lerobot_numbers.hpp"
#include "../formats/number_types.hpp"
#include "../formats/recorded_notes.hpp"
#include "../formats/recorded_splits.hpp"
#include "../tables/parquet_file.hpp"
#include "../tables/parquet_writer.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

// Episodes in one file of meta/episodes: it is rewritten whenever one is added.
constexpr std::size_t kEpisodesPerMetaFile = 1000;
constexpr const char* kRowFeatures[] = {"timestamp", "frame_index", "episode_index", "index",
                                        "task_index"};

// The type of a feature's smallest and largest value.
at::ScalarType limit_type(const RecordingOptions& options, const std::string& feature) {
  for (const auto& one : options.features)
    if (one.name == feature) return at::isFloatingType(one.type) ? at::kDouble : one.type;
  const auto* found = std::find(std::begin(kRowFeatures), std::end(kRowFeatures), feature);
  return found != std::end(kRowFeatures) && feature != "timestamp" ? at::kLong : at::kDouble;
}

int64_t largest(const ParquetFile& file, const std::string& column) {
  const Tensor values = file.numbers(column, 1);
  return values.numel() == 0 ? -1 : values.max().item<int64_t>();
}

// Features, without what differs from file to file of the same data.
OrderedJson comparable(const nlohmann::json& features) {
  OrderedJson plain;
  if (!features.is_object()) return plain;
  for (const auto& [name, feature] : features.items())
    if (feature.is_object())
      plain[name] = {feature.value("dtype", nlohmann::json()),
                     feature.value("shape", nlohmann::json())};
  return plain;
}

}  // namespace

std::vector<int64_t> lerobot_shape(const RecordedFeature& feature) {
  if (feature.shape.size() > 1) return feature.shape;
  return {static_cast<int64_t>(feature.columns.size())};
}

LeRobotMetaWriter::LeRobotMetaWriter(fs::path folder, const RecordingOptions& options)
    : folder_(std::move(folder)), options_(options), files_per_chunk_(options.files_per_chunk) {
  if (fs::exists(folder_ / "meta" / "info.json")) continue_data_set();
}

void LeRobotMetaWriter::continue_data_set() {
  const fs::path file = folder_ / "meta" / "info.json";
  const nlohmann::json there = io::read_json(file);
  const auto refuse = [&](const std::string& what) {
    throw Error(ErrorCategory::invalid_argument, file.string() + ": " + what);
  };
  const LeRobotMeta meta = read_lerobot_meta(folder_);
  if (meta.version != "v3.0") refuse("is of version " + meta.version + ", v3.0 can be continued");
  if (meta.fps != options_.video.fps)
    refuse("has fps = " + std::to_string(meta.fps) + ", the episodes to be added have " +
           std::to_string(options_.video.fps));
  if (options_.robot_type == kUnknownRobot) options_.robot_type = meta.robot_type;
  if (there.value("data_path", std::string()) != kLeRobotDataPath ||
      (there.contains("video_path") && there["video_path"].is_string() &&
       there["video_path"] != kLeRobotVideoPath))
    refuse("names its files in another way than is written");
  files_per_chunk_ = there.value("chunks_size", int64_t{1000});
  for (const auto& camera : options_.cameras) {
    const auto feature = there["features"].value(lerobot_camera(camera), nlohmann::json());
    const auto shape =
        feature.is_object() ? feature.value("shape", nlohmann::json()) : nlohmann::json();
    if (!shape.is_array() || shape.size() != 3 || !shape[0].is_number_integer() ||
        !shape[1].is_number_integer())
      refuse("has no camera '" + lerobot_camera(camera) + "'");
    sizes_[camera] = {shape[0].get<int64_t>(), shape[1].get<int64_t>()};
    if (feature.contains("info")) videos_[camera] = feature["info"];
  }
  const auto ours = comparable(features()), theirs = comparable(there["features"]);
  if (nlohmann::json(ours) != nlohmann::json(theirs))
    refuse("has the features " + theirs.dump() + ", the episodes to be added have " + ours.dump());
  info_ = there;
  for (const auto& [index, task] : meta.tasks) {
    if (index != static_cast<int64_t>(tasks_.size())) refuse("numbers its tasks with gaps");
    tasks_.push_back(task);
  }
  for (const auto& note : meta.notes) options_.notes.insert(note);  // new ones count
  episodes_ = first_episode_ = static_cast<int64_t>(meta.episodes.size());
  if (const auto told = there.value("splits", nlohmann::json()); episodes_ > 0 && !told.empty()) {
    const auto all = selected_episodes("", episodes_, "episodes");
    // info.json is written last: a writer that was killed may not have counted its last episode.
    const bool uncounted = there.value("total_episodes", nlohmann::json()) == episodes_ - 1;
    const auto kept = kept_splits(file, told, all, TargetFormat::lerobot, uncounted);
    splits_ = kept.told;
    train_from_ = kept.train.empty() ? std::nullopt : std::optional(kept.train.front());
  }
  for (const auto& episode : meta.episodes) rows_ += episode.length;
  read_places();
  read_statistics();
}

// Where writing goes on: behind everything that an episode refers to.
void LeRobotMetaWriter::read_places() {
  for (const auto& path : lerobot_episode_files(folder_)) {
    const ParquetFile file(path);
    std::vector<std::string> prefixes = {"data/"};
    for (const auto& camera : options_.cameras)
      if (options_.storage == FrameStorage::video)
        prefixes.push_back("videos/" + lerobot_camera(camera) + "/");
    // Chunk by chunk, so the largest file number of all chunks may be too large: a gap is harmless.
    for (const auto& prefix : prefixes)
      next_file_ = std::max(next_file_, largest(file, prefix + "chunk_index") * files_per_chunk_ +
                                            largest(file, prefix + "file_index") + 1);
    next_meta_file_ =
        std::max(next_meta_file_, largest(file, "meta/episodes/chunk_index") * files_per_chunk_ +
                                      largest(file, "meta/episodes/file_index") + 1);
  }
}

void LeRobotMetaWriter::read_statistics() {
  const fs::path file = folder_ / "meta" / "stats.json";
  if (!fs::exists(file)) return;
  const nlohmann::json all = io::read_json(file);
  if (!all.is_object()) return;
  for (const auto& [feature, stats] : all.items()) {
    const std::string what = file.string() + ": '" + feature + "'";
    const auto& known = statistics_[feature] = feature_statistics(stats, what);
    require(known.count > 0, ErrorCategory::bad_file, what + " lacks a count");
    if (const auto* one = recorded(feature)) check_statistics(*one, stats, what);
  }
}

const RecordedFeature* LeRobotMetaWriter::recorded(const std::string& feature) const {
  for (const auto& one : options_.features)
    if (one.name == feature) return &one;
  return nullptr;
}

// Of a matrix LeRobot 0.4 takes all but the last size together. What is added must be like that, in
// meta/episodes too, where LeRobot reads all files as one table.
void LeRobotMetaWriter::check_statistics(const RecordedFeature& feature,
                                         const nlohmann::json& stats, const std::string& what) {
  const auto shape = lerobot_shape(feature), found = nested_shape(stats["mean"]);
  const auto numbers = statistics_.at(feature.name).mean.numel();
  if (shape.size() > 1 && found == std::vector<int64_t>{shape.back()})
    by_last_size_.insert(feature.name);
  else
    require(numbers == static_cast<int64_t>(feature.columns.size()), ErrorCategory::bad_file,
            what + " has statistics of shape " + shape_string(found) + ", its rows have shape " +
                shape_string(shape) + ": they are not of these rows");
}

FeatureStatistics LeRobotMetaWriter::statistics_of(const std::string& feature,
                                                   const Tensor& rows) const {
  if (!by_last_size_.contains(feature)) return row_statistics(rows);
  auto all = row_statistics(rows.reshape({-1, lerobot_shape(*recorded(feature)).back()}));
  if (all.known.defined()) all.known = all.known * rows.size(0) / all.count;
  all.count = rows.size(0);
  return all;
}

ImageSize LeRobotMetaWriter::size(const std::string& camera) const {
  const auto found = sizes_.find(camera);
  return found == sizes_.end() ? ImageSize{} : found->second;
}

int64_t LeRobotMetaWriter::task_index(const std::string& task) {
  const auto found = std::find(tasks_.begin(), tasks_.end(), task);
  if (found != tasks_.end()) return found - tasks_.begin();
  tasks_.push_back(task);
  return static_cast<int64_t>(tasks_.size()) - 1;
}

void LeRobotMetaWriter::describe_camera(const std::string& camera, ImageSize size,
                                        OrderedJson video) {
  sizes_[camera] = size;
  if (!video.empty()) videos_[camera] = std::move(video);
}

void LeRobotMetaWriter::add(WrittenEpisode episode) {
  rows_ = episode.to;
  ++episodes_;
  for (const auto& [feature, found] : episode.statistics) {
    const auto known = statistics_.find(feature);
    if (known == statistics_.end())
      statistics_[feature] = found;
    else if (known->second.mean.numel() == found.mean.numel())
      known->second = merged(known->second, found);
    else
      throw Error(ErrorCategory::bad_file,
                  (folder_ / "meta" / "stats.json").string() + ": '" + feature + "' has " +
                      std::to_string(known->second.mean.numel()) + " numbers, its rows " +
                      std::to_string(found.mean.numel()));
  }
  batch_.push_back(std::move(episode));
}

fs::path LeRobotMetaWriter::episodes_file() const {
  return folder_ / "meta/episodes" / lerobot_file(next_meta_file_, files_per_chunk_, ".parquet");
}

// In the order in which they are put in place: with info.json, the folder is a data set.
std::vector<fs::path> LeRobotMetaWriter::files() const {
  std::vector<fs::path> all = {folder_ / "meta/tasks.parquet", episodes_file(),
                               folder_ / "meta/stats.json"};
  if (!options_.notes.empty()) all.push_back(folder_ / kLeRobotNotes);
  all.push_back(folder_ / "meta/info.json");
  return all;
}

void LeRobotMetaWriter::stage() {
  try {
    write_tasks();
    write_episodes();
    write_statistics();
    if (!options_.notes.empty())
      io::write_json(prepared_staged_path(folder_ / kLeRobotNotes), options_.notes);
    io::write_json(prepared_staged_path(folder_ / "meta/info.json"), info());
  } catch (...) {
    std::error_code ignored;
    for (const auto& file : files()) fs::remove(staged_path(file), ignored);
    throw;
  }
}

void LeRobotMetaWriter::publish(const std::vector<fs::path>& of_rows) {
  for (const auto& file : of_rows) put_in_place(file);
  for (const auto& file : files()) put_in_place(file);
  if (batch_.size() < kEpisodesPerMetaFile) return;
  batch_.clear();
  first_episode_ = episodes_;
  ++next_meta_file_;
}

// LeRobot reads this as a pandas frame whose index is the text.
void LeRobotMetaWriter::write_tasks() const {
  const auto column = [](const char* name, const char* pandas, const char* numpy) {
    return OrderedJson{{"name", name},
                       {"field_name", name},
                       {"pandas_type", pandas},
                       {"numpy_type", numpy},
                       {"metadata", nullptr}};
  };
  const OrderedJson pandas{
      {"index_columns", {"task"}},
      {"column_indexes", OrderedJson::array()},
      {"columns", {column("task_index", "int64", "int64"), column("task", "unicode", "object")}},
      {"creator", {{"library", "foresight"}, {"version", "0.1"}}},
      {"pandas_version", "2.0.0"}};
  write_parquet(prepared_staged_path(folder_ / "meta/tasks.parquet"),
                {{"task_index", at::arange(static_cast<int64_t>(tasks_.size()), at::kLong)},
                 {"task", tasks_}},
                {.metadata = {{"pandas", pandas.dump()}}});
}

void LeRobotMetaWriter::write_episodes() const {
  const auto count = static_cast<int64_t>(batch_.size());
  const auto numbers = [&](at::ScalarType type, auto&& value) {
    Tensor column = at::empty({count}, type);
    for (int64_t i = 0; i < count; ++i) column[i] = value(batch_[static_cast<std::size_t>(i)]);
    return column;
  };
  const auto integers = [&](auto&& value) { return numbers(at::kLong, value); };
  const Tensor chunk = integers([&](auto& e) { return e.file / files_per_chunk_; });
  const Tensor file = integers([&](auto& e) { return e.file % files_per_chunk_; });
  std::vector<std::vector<std::string>> tasks;
  for (const auto& episode : batch_) tasks.push_back({episode.task});
  std::vector<ParquetColumn> columns = {
      {"episode_index", at::arange(first_episode_, first_episode_ + count, at::kLong)},
      {"tasks", tasks},
      {"length", integers([](auto& e) { return e.to - e.from; })},
      {"data/chunk_index", chunk},
      {"data/file_index", file},
      {"dataset_from_index", integers([](auto& e) { return e.from; })},
      {"dataset_to_index", integers([](auto& e) { return e.to; })}};
  if (options_.storage == FrameStorage::video)
    for (const auto& camera : options_.cameras) {
      const std::string prefix = "videos/" + lerobot_camera(camera) + "/";
      columns.push_back({prefix + "chunk_index", chunk});
      columns.push_back({prefix + "file_index", file});
      columns.push_back({prefix + "from_timestamp",
                         numbers(at::kDouble, [&](auto& e) { return e.clips.at(camera).first; })});
      columns.push_back({prefix + "to_timestamp",
                         numbers(at::kDouble, [&](auto& e) { return e.clips.at(camera).second; })});
    }
  for (const auto& [feature, first] : batch_.front().statistics) {
    std::vector<std::vector<NamedStatistic>> all;  // of every episode
    for (const auto& episode : batch_)
      all.push_back(
          named_statistics(episode.statistics.at(feature), limit_type(options_, feature)));
    for (std::size_t s = 0; s < all.front().size(); ++s) {
      std::vector<Tensor> rows;
      for (const auto& named : all) rows.push_back(named[s].values);
      const std::string name = all.front()[s].name;
      Tensor values = at::stack(rows);
      if (name != "count") {
        auto shape = statistics_shape(feature);
        shape.insert(shape.begin(), count);
        values = values.view(shape);
      }
      columns.push_back({"stats/" + feature + "/" + name, values, ParquetLists::variable});
    }
  }
  columns.push_back({"meta/episodes/chunk_index",
                     at::full({count}, next_meta_file_ / files_per_chunk_, at::kLong)});
  columns.push_back({"meta/episodes/file_index",
                     at::full({count}, next_meta_file_ % files_per_chunk_, at::kLong)});
  write_parquet(prepared_staged_path(episodes_file()), columns);
}

void LeRobotMetaWriter::write_statistics() const {
  OrderedJson stats;
  for (const auto& [feature, found] : statistics_)
    stats[feature] =
        statistics_json(found, limit_type(options_, feature), statistics_shape(feature));
  io::write_json(prepared_staged_path(folder_ / "meta/stats.json"), stats);
}

// Of each statistic of a feature: that of a row, and [[[r]], [[g]], [[b]]] for colours.
std::vector<int64_t> LeRobotMetaWriter::statistics_shape(const std::string& feature) const {
  for (const auto& camera : options_.cameras)
    if (lerobot_camera(camera) == feature) return {3, 1, 1};
  const auto* one = recorded(feature);
  if (one == nullptr) return {1};
  const auto shape = lerobot_shape(*one);
  return by_last_size_.contains(feature) ? std::vector<int64_t>{shape.back()} : shape;
}

OrderedJson LeRobotMetaWriter::features() const {
  OrderedJson features;
  for (const auto& camera : options_.cameras) {
    const bool video = options_.storage == FrameStorage::video;
    OrderedJson feature{{"dtype", video ? "video" : "image"},
                        {"shape", {size(camera).height, size(camera).width, 3}},
                        {"names", {"height", "width", "channels"}}};
    if (const auto known = videos_.find(camera); known != videos_.end())
      feature["info"] = known->second;
    features[lerobot_camera(camera)] = std::move(feature);
  }
  for (const auto& feature : options_.features) {
    const auto shape = lerobot_shape(feature);
    features[feature.name] = {{"dtype", number_type_name(feature.type)}, {"shape", shape}};
    const auto& names = feature.names.empty() ? feature.columns : feature.names;
    features[feature.name]["names"] =  // of a vector's numbers; a matrix has no place for them
        shape.size() == 1 ? OrderedJson(names) : OrderedJson(nullptr);
  }
  for (const auto& text : options_.texts)
    features[text] = {{"dtype", "string"}, {"shape", {1}}, {"names", nullptr}};
  for (const std::string name : kRowFeatures)
    features[name] = {
        {"dtype", name == "timestamp" ? "float32" : "int64"}, {"shape", {1}}, {"names", nullptr}};
  return features;
}

OrderedJson LeRobotMetaWriter::info() const {
  const bool video = options_.storage == FrameStorage::video;
  OrderedJson info;
  info["codebase_version"] = "v3.0";
  info["robot_type"] = options_.robot_type;
  info["total_episodes"] = episodes_;
  info["total_frames"] = rows_;
  info["total_tasks"] = static_cast<int64_t>(tasks_.size());
  info["chunks_size"] = files_per_chunk_;
  info["data_files_size_in_mb"] = options_.data_file_mb;
  info["video_files_size_in_mb"] = options_.video_file_mb;
  info["fps"] = static_cast<int64_t>(options_.video.fps);
  auto splits = splits_;
  if (train_from_) splits["train"] = lerobot_range(*train_from_, episodes_);
  info["splits"] = splits;
  info["data_path"] = kLeRobotDataPath;
  info["video_path"] = video ? OrderedJson(kLeRobotVideoPath) : OrderedJson(nullptr);
  info["features"] = features();
  return with_those_there(std::move(info));
}

// What was told before this writer and is not its to tell: keys that it does not know, and what the
// numbers of a feature are.
OrderedJson LeRobotMetaWriter::with_those_there(OrderedJson info) const {
  if (info_.is_null()) return info;
  for (const auto& [key, value] : info_.items())
    if (!info.contains(key)) info[key] = value;
  for (auto& [name, feature] : info["features"].items())
    for (const auto& [key, value] : info_.at("features").at(name).items())
      if (!feature.contains(key) || (key == "names" && !value.is_null())) feature[key] = value;
  return info;
}

}  // namespace foresight::data
