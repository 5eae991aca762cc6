// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/lerobot_writer.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>

#include "foresight/io/json_file.hpp"
#include "parquet_file.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr int64_t kFilesPerChunk = 1000;
constexpr const char* kDataPath = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet";
constexpr const char* kVideoPath =
    "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4";

// Columns that LeRobot adds to every row.
const std::set<std::string> kImplicitColumns = {"timestamp", "frame_index", "episode_index",
                                                "index", "task_index"};

std::string chunk_and_file(int64_t number, const char* ending) {
  char name[64];
  std::snprintf(name, sizeof name, "chunk-%03lld/file-%03lld%s",
                static_cast<long long>(number / kFilesPerChunk),
                static_cast<long long>(number % kFilesPerChunk), ending);
  return name;
}

// Sums for mean and population std, elementwise; NaN is left out.
class RunningStatistics {
 public:
  void add(const Tensor& rows) {  // [N, width]
    const Tensor values = rows.to(at::kDouble);
    const Tensor known = at::isnan(values).logical_not();
    const Tensor zeroed = at::where(known, values, at::zeros({}, at::kDouble));
    const double inf = std::numeric_limits<double>::infinity();
    const Tensor low = at::where(known, values, at::full({}, inf, at::kDouble)).amin(0);
    const Tensor high = at::where(known, values, at::full({}, -inf, at::kDouble)).amax(0);
    // Shifted by the first row, so that the squares do not cancel.
    if (!count_.defined()) {
      shift_ = zeroed[0].clone();
      count_ = at::zeros_like(shift_);
      sum_ = at::zeros_like(shift_);
      squares_ = at::zeros_like(shift_);
      min_ = low;
      max_ = high;
    }
    const Tensor moved = at::where(known, values - shift_, at::zeros({}, at::kDouble));
    count_ += known.sum(0);
    sum_ += moved.sum(0);
    squares_ += (moved * moved).sum(0);
    min_ = at::minimum(min_, low);
    max_ = at::maximum(max_, high);
  }

  /// `nested`: as pictures have it, [[[r]], [[g]], [[b]]].
  OrderedJson json(bool nested) const {
    const Tensor n = count_.clamp_min(1);
    const Tensor mean = sum_ / n;
    const Tensor std = (squares_ / n - mean * mean).clamp_min(0).sqrt();
    OrderedJson json;
    const auto put = [&](const char* key, const Tensor& values) {
      auto list = OrderedJson::array();
      for (int64_t i = 0; i < values.numel(); ++i) {
        const double value = values[i].item<double>();
        const OrderedJson one = std::isfinite(value) ? OrderedJson(value) : OrderedJson(0.0);
        list.push_back(nested ? OrderedJson::array({OrderedJson::array({one})}) : one);
      }
      json[key] = list;
    };
    put("min", min_);
    put("max", max_);
    put("mean", mean + shift_);
    put("std", std);
    json["count"] = {static_cast<int64_t>(count_.max().item<double>())};
    return json;
  }

 private:
  Tensor shift_, count_, sum_, squares_, min_, max_;
};

struct WrittenEpisode {
  int64_t file = 0, from = 0, to = 0;  // rows of the data set
  double start = 0, end = 0;           // seconds in the video file
  std::string task;
};

}  // namespace

std::vector<std::string> LeRobotWriterOptions::validate() const {
  Rules rules("LeRobotWriterOptions");
  rules.nested("video", video.validate());
  rules.check(video.fps == std::round(video.fps) && video.fps >= 1, "video.fps", video.fps,
              "must be a whole number, as LeRobot keeps it");
  rules.at_least("frames_per_file", static_cast<double>(frames_per_file), 1);
  rules.check(!cameras.empty(), "cameras", "[]", "must name at least one");
  std::set<std::string> seen = kImplicitColumns;
  const auto check_name = [&](const std::string& name) {
    const bool plain = !name.empty() && name.find('/') == std::string::npos && name[0] != '.';
    rules.check(plain, "feature", name, "must be a name without '/'");
    rules.check(seen.insert(name).second, "feature", name,
                "must be named once (timestamp, frame_index, ... are added)");
  };
  for (const auto& camera : cameras) check_name(camera);
  for (const auto& feature : features) {
    check_name(feature.feature);
    rules.check(!feature.columns.empty(), "feature", feature.feature, "must have a column");
  }
  return rules.problems();
}

struct LeRobotWriter::Impl {
  fs::path folder;
  LeRobotWriterOptions options;
  bool finished = false;
  int64_t width = 0;  // columns of all features

  std::map<std::string, std::unique_ptr<VideoWriter>> videos;  // open files, by camera
  std::map<std::string, ImageSize> sizes;
  int64_t file = 0, file_first_row = 0, file_first_episode = 0;
  std::vector<Tensor> file_values;  // rows of the open data file
  std::vector<WrittenEpisode> episodes;
  std::vector<std::string> tasks;
  std::map<std::string, RunningStatistics> statistics;

  ~Impl() {
    if (finished) return;
    videos.clear();  // closes and removes its temporary files
    std::error_code ignored;
    fs::remove_all(folder, ignored);
  }

  int64_t rows() const { return episodes.empty() ? 0 : episodes.back().to; }

  fs::path made_path(const std::string& relative) const {
    const fs::path path = folder / relative;
    fs::create_directories(path.parent_path());
    return path;
  }

  int64_t task_number(const std::string& task) {
    const auto found = std::find(tasks.begin(), tasks.end(), task);
    if (found != tasks.end()) return found - tasks.begin();
    tasks.push_back(task);
    return static_cast<int64_t>(tasks.size()) - 1;
  }

  void check_episode(const std::map<std::string, Tensor>& frames, const Tensor& values) const;
  void write_frames(const std::string& camera, const Tensor& pictures);
  void close_files();
  void write_rows();
  void write_tasks() const;
  void write_episode_table() const;
  void write_statistics();
  OrderedJson feature_json() const;
  void write_info() const;
};

void LeRobotWriter::Impl::check_episode(const std::map<std::string, Tensor>& frames,
                                        const Tensor& values) const {
  check_shape("values", values, {kAny, width}, "[T,columns]");
  const int64_t length = values.size(0);
  require(length >= 1, ErrorCategory::invalid_argument, folder.string() + ": an empty episode");
  require(!finished, ErrorCategory::invalid_argument, folder.string() + ": is finished already");
  for (const auto& camera : options.cameras) {
    const auto pictures = frames.find(camera);
    require(pictures != frames.end(), ErrorCategory::invalid_argument,
            folder.string() + ": an episode without frames of camera '" + camera + "'");
    check_shape(camera, pictures->second, {length, kAny, kAny, 3}, "[T,H,W,3]");
  }
}

void LeRobotWriter::Impl::write_frames(const std::string& camera, const Tensor& pictures) {
  auto& writer = videos[camera];
  if (!writer) {
    auto encoding = options.video;
    // Halved colour needs even sizes.
    if (pictures.size(1) % 2 != 0 || pictures.size(2) % 2 != 0) encoding.chroma = Chroma::yuv444;
    writer = std::make_unique<VideoWriter>(
        made_path("videos/" + camera + "/" + chunk_and_file(file, ".mp4")), encoding);
  }
  writer->write(pictures);
  sizes[camera] = {pictures.size(1), pictures.size(2)};
  // Every tenth frame tells mean and spread of colours well enough; LeRobot samples them too.
  const Tensor some = pictures.slice(0, 0, pictures.size(0), 10);
  statistics[camera].add(some.reshape({-1, 3}).to(at::kDouble) / 255);
}

// Data and video files end after the same episode, so that one number names both.
void LeRobotWriter::Impl::close_files() {
  if (file_values.empty()) return;
  for (auto& [camera, writer] : videos) writer->close();
  videos.clear();
  write_rows();
  file_values.clear();
  ++file;
  file_first_row = rows();
  file_first_episode = static_cast<int64_t>(episodes.size());
}

void LeRobotWriter::Impl::write_rows() {
  const Tensor values = at::cat(file_values);
  const int64_t count = values.size(0);
  std::vector<ParquetColumn> columns;
  int64_t place = 0;
  for (const auto& feature : options.features) {
    const auto size = static_cast<int64_t>(feature.columns.size());
    const Tensor part = values.narrow(1, place, size);
    statistics[feature.feature].add(part);
    columns.push_back({feature.feature, size == 1 ? part.flatten() : part});
    place += size;
  }
  Tensor timestamp = at::empty({count}, at::kFloat), frame = at::empty({count}, at::kLong),
         episode = at::empty({count}, at::kLong), task = at::empty({count}, at::kLong);
  int64_t row = 0;
  for (auto e = static_cast<std::size_t>(file_first_episode); e < episodes.size(); ++e)
    for (int64_t t = 0; t < episodes[e].to - episodes[e].from; ++t, ++row) {
      timestamp.mutable_data_ptr<float>()[row] =
          static_cast<float>(static_cast<double>(t) / options.video.fps);
      frame.mutable_data_ptr<int64_t>()[row] = t;
      episode.mutable_data_ptr<int64_t>()[row] = static_cast<int64_t>(e);
      task.mutable_data_ptr<int64_t>()[row] = task_number(episodes[e].task);
    }
  const Tensor index = at::arange(file_first_row, file_first_row + count, at::kLong);
  const std::pair<const char*, const Tensor*> implicit[] = {{"timestamp", &timestamp},
                                                            {"frame_index", &frame},
                                                            {"episode_index", &episode},
                                                            {"index", &index},
                                                            {"task_index", &task}};
  for (const auto& [name, column] : implicit) {
    columns.push_back({name, *column});
    statistics[name].add(column->unsqueeze(1));
  }
  write_parquet(made_path("data/" + chunk_and_file(file, ".parquet")), columns);
}

// LeRobot reads this as a pandas frame whose index is the text.
void LeRobotWriter::Impl::write_tasks() const {
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
  write_parquet(
      made_path("meta/tasks.parquet"),
      {{"task_index", at::arange(static_cast<int64_t>(tasks.size()), at::kLong)}, {"task", tasks}},
      {{"pandas", pandas.dump()}});
}

void LeRobotWriter::Impl::write_episode_table() const {
  const auto integers = [&](auto&& value) {
    Tensor column = at::empty({static_cast<int64_t>(episodes.size())}, at::kLong);
    for (std::size_t e = 0; e < episodes.size(); ++e)
      column.mutable_data_ptr<int64_t>()[e] = value(e);
    return column;
  };
  const auto seconds = [&](double WrittenEpisode::*member) {
    Tensor column = at::empty({static_cast<int64_t>(episodes.size())}, at::kDouble);
    for (std::size_t e = 0; e < episodes.size(); ++e)
      column.mutable_data_ptr<double>()[e] = episodes[e].*member;
    return column;
  };
  const Tensor chunks = integers([&](auto e) { return episodes[e].file / kFilesPerChunk; });
  const Tensor files = integers([&](auto e) { return episodes[e].file % kFilesPerChunk; });
  std::vector<std::vector<std::string>> episode_tasks;
  for (const auto& episode : episodes) episode_tasks.push_back({episode.task});
  std::vector<ParquetColumn> columns = {
      {"episode_index", integers([](auto e) { return static_cast<int64_t>(e); })},
      {"tasks", episode_tasks},
      {"length", integers([&](auto e) { return episodes[e].to - episodes[e].from; })},
      {"data/chunk_index", chunks},
      {"data/file_index", files},
      {"dataset_from_index", integers([&](auto e) { return episodes[e].from; })},
      {"dataset_to_index", integers([&](auto e) { return episodes[e].to; })}};
  for (const auto& camera : options.cameras) {
    const std::string prefix = "videos/" + camera + "/";
    columns.push_back({prefix + "chunk_index", chunks});
    columns.push_back({prefix + "file_index", files});
    columns.push_back({prefix + "from_timestamp", seconds(&WrittenEpisode::start)});
    columns.push_back({prefix + "to_timestamp", seconds(&WrittenEpisode::end)});
  }
  const Tensor zeros = at::zeros({static_cast<int64_t>(episodes.size())}, at::kLong);
  columns.push_back({"meta/episodes/chunk_index", zeros});
  columns.push_back({"meta/episodes/file_index", zeros});
  write_parquet(made_path("meta/episodes/" + chunk_and_file(0, ".parquet")), columns);
}

void LeRobotWriter::Impl::write_statistics() {
  OrderedJson stats;
  for (const auto& [feature, sums] : statistics) {
    const bool pictures =
        std::find(options.cameras.begin(), options.cameras.end(), feature) != options.cameras.end();
    stats[feature] = sums.json(pictures);
  }
  io::write_json(made_path("meta/stats.json"), stats);
}

OrderedJson LeRobotWriter::Impl::feature_json() const {
  OrderedJson features;
  for (const auto& camera : options.cameras) {
    const ImageSize size = sizes.at(camera);
    const bool odd = size.height % 2 != 0 || size.width % 2 != 0;
    features[camera] = {
        {"dtype", "video"},
        {"shape", {size.height, size.width, 3}},
        {"names", {"height", "width", "channels"}},
        {"info",
         {{"video.height", size.height},
          {"video.width", size.width},
          {"video.codec", "h264"},
          {"video.pix_fmt", odd || options.video.chroma == Chroma::yuv444 ? "yuv444p" : "yuv420p"},
          {"video.is_depth_map", false},
          {"video.fps", static_cast<int64_t>(options.video.fps)},
          {"video.channels", 3},
          {"has_audio", false}}}};
  }
  for (const auto& feature : options.features)
    features[feature.feature] = {{"dtype", "float32"},
                                 {"shape", {static_cast<int64_t>(feature.columns.size())}},
                                 {"names", feature.columns}};
  for (const auto& name : {"timestamp", "frame_index", "episode_index", "index", "task_index"})
    features[name] = {{"dtype", std::string(name) == "timestamp" ? "float32" : "int64"},
                      {"shape", {1}},
                      {"names", nullptr}};
  return features;
}

void LeRobotWriter::Impl::write_info() const {
  OrderedJson info;
  info["codebase_version"] = "v3.0";
  info["robot_type"] = options.robot_type;
  info["total_episodes"] = static_cast<int64_t>(episodes.size());
  info["total_frames"] = rows();
  info["total_tasks"] = static_cast<int64_t>(tasks.size());
  info["chunks_size"] = kFilesPerChunk;
  info["data_files_size_in_mb"] = 100;
  info["video_files_size_in_mb"] = 200;
  info["fps"] = static_cast<int64_t>(options.video.fps);
  info["splits"] = {{"train", "0:" + std::to_string(episodes.size())}};
  info["data_path"] = kDataPath;
  info["video_path"] = kVideoPath;
  info["features"] = feature_json();
  io::write_json(made_path("meta/info.json"), info);
}

LeRobotWriter::LeRobotWriter(fs::path folder, LeRobotWriterOptions options) {
  require_valid(options);
  require(has_parquet(), ErrorCategory::unsupported,
          folder.string() +
              ": this build of foresight has no Apache Parquet, so it cannot write "
              "LeRobot data; see docs/building.md");
  require(has_video_encoder(options.video.encoder), ErrorCategory::unsupported,
          folder.string() + ": this FFmpeg has no H.264 encoder '" + options.video.encoder + "'");
  require(!fs::exists(folder) || (fs::is_directory(folder) && fs::is_empty(folder)),
          ErrorCategory::invalid_argument,
          folder.string() + ": exists already, a data set is written to a new folder");
  std::error_code code;
  fs::create_directories(folder, code);
  require(!code, ErrorCategory::io_failure,
          folder.string() + ": cannot be created: " + code.message());
  impl_ = std::make_unique<Impl>();
  impl_->folder = std::move(folder);
  impl_->options = std::move(options);
  for (const auto& feature : impl_->options.features)
    impl_->width += static_cast<int64_t>(feature.columns.size());
}

LeRobotWriter::~LeRobotWriter() = default;

void LeRobotWriter::write_episode(const std::map<std::string, Tensor>& frames, const Tensor& values,
                                  const std::string& task) {
  Impl& impl = *impl_;
  impl.check_episode(frames, values);
  for (const auto& camera : impl.options.cameras) impl.write_frames(camera, frames.at(camera));
  const int64_t from = impl.rows(), length = values.size(0);
  const double fps = impl.options.video.fps;
  const auto second = [&](int64_t row) {
    return static_cast<double>(row - impl.file_first_row) / fps;
  };
  impl.task_number(task);
  impl.episodes.push_back(
      {impl.file, from, from + length, second(from), second(from + length), task});
  impl.file_values.push_back(values.to(at::kCPU, at::kFloat).contiguous());
  if (from + length - impl.file_first_row >= impl.options.frames_per_file) impl.close_files();
}

void LeRobotWriter::finish() {
  Impl& impl = *impl_;
  if (impl.finished) return;
  require(!impl.episodes.empty(), ErrorCategory::invalid_argument,
          impl.folder.string() + ": no episode was written");
  impl.close_files();
  impl.write_tasks();
  impl.write_episode_table();
  impl.write_statistics();
  impl.write_info();  // last: with it, the folder is a data set
  impl.finished = true;
}

}  // namespace foresight::data
