// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/lerobot_writer.hpp"

#include <algorithm>
#include <optional>

#include "../formats/lerobot_layout.hpp"
#include "../tables/parquet_file.hpp"
#include "../tables/parquet_writer.hpp"
#include "../video/film_encoder.hpp"
#include "episode_rows.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/png.hpp"
#include "foresight/data/video_reader.hpp"
#include "lerobot_meta_writer.hpp"
#include "recording_lock.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

constexpr double kBytesPerMb = 1024 * 1024;

// What info.json says of the frames in a video, as found in it.
OrderedJson described_video(const fs::path &file, double fps) {
  const VideoReader reader(file.string());
  const auto &info = reader.info();
  return {{"video.height", info.height}, {"video.width", info.width},
          {"video.codec", info.codec},   {"video.pix_fmt", info.pixel_format},
          {"video.is_depth_map", false}, {"video.fps", static_cast<int64_t>(fps)},
          {"video.channels", 3},         {"has_audio", false}};
}

// Rows that are not on disk yet: of one episode, or of all episodes of the open
// file.
struct OpenRows {
  int64_t count = 0;
  std::map<std::string, std::vector<Tensor>> values;         // by feature: of the unfinished
                                                             // episode [columns] each row, then
                                                             // [rows, columns] each episode
  std::map<std::string, std::vector<std::string>> texts;     // by column
  std::map<std::string, std::vector<std::string>> pictures;  // by camera, PNG
  std::map<std::string, ColourHistogram> colours;            // by camera, of one episode
  double bytes = 0;

  // Of one episode: a tensor a row takes many times the memory of its numbers.
  std::map<std::string, std::vector<Tensor>> stacked() const {
    std::map<std::string, std::vector<Tensor>> whole;
    for (const auto &[feature, rows] : values) whole[feature] = {at::stack(rows)};
    return whole;
  }

  void append(OpenRows &&more) {
    count += more.count;
    bytes += more.bytes;
    const auto move_to = [](auto &target, auto &source) {
      for (auto &[name, items] : source)
        target[name].insert(target[name].end(), std::make_move_iterator(items.begin()),
                            std::make_move_iterator(items.end()));
    };
    move_to(values, more.values);
    move_to(texts, more.texts);
    move_to(pictures, more.pictures);
  }
};

// From the innermost on; one that holds a file stays.
void remove_empty_folders(const fs::path &folder) {
  std::error_code ended, ignored;
  for (fs::directory_iterator entry(folder, ended), end; !ended && entry != end;
       entry.increment(ended))
    if (entry->is_directory(ignored) && !entry->is_symlink(ignored))
      remove_empty_folders(entry->path());
  fs::remove(folder, ignored);
}

}  // namespace

struct LeRobotWriter::Impl {
  Impl(const fs::path &where, const RecordingOptions &chosen, RecordingLock locked)
      : lock(std::move(locked)),
        folder(where),
        options(chosen),
        meta(where, chosen),
        file(meta.next_file()) {
    for (const auto &camera : options.cameras)
      if (meta.size(camera) != ImageSize{}) sizes[camera] = meta.size(camera);
  }
  ~Impl();

  std::string where() const {
    return folder.string() + ": episode " +
           std::to_string(meta.episodes() + static_cast<int64_t>(finished.size())) + ", row " +
           std::to_string(episode.count);
  }
  std::string file_name(const std::string &ending) const {
    return lerobot_file(file, meta.files_per_chunk(), ending);
  }
  fs::path data_file() const { return folder / "data" / file_name(".parquet"); }
  fs::path video_file(const std::string &camera) const {
    return folder / "videos" / lerobot_camera(camera) / file_name(".mp4");
  }
  std::vector<fs::path> files() const;
  int64_t rows_before() const { return finished.empty() ? meta.rows() : finished.back().to; }

  void write_frame(const std::string &camera, const Tensor &frame);
  std::map<std::string, FeatureStatistics> episode_statistics(
      const WrittenEpisode &written, int64_t task,
      const std::map<std::string, std::vector<Tensor>> &stacked);
  bool file_is_full() const;
  void close_file();
  void write_file();
  void remove_file(std::size_t episodes);
  void write_rows();

  std::optional<RecordingLock> lock;
  fs::path folder;
  RecordingOptions options;
  LeRobotMetaWriter meta;
  int64_t file = 0;  // number of the open data and video files
  std::map<std::string, ImageSize> sizes;
  std::map<std::string, std::unique_ptr<VideoWriter>> videos;  // open files, by camera
  std::map<std::string, int64_t> first_frame;  // of the unfinished episode in its video
  OpenRows episode, open;                      // of the unfinished one; of the finished ones
  std::vector<WrittenEpisode> finished;        // in the open file
  bool spoiled = false;  // a row of the unfinished episode was written to some cameras only
  bool closed = false;
};

LeRobotWriter::Impl::~Impl() {
  videos.clear();  // removes their temporary files
  if (!finished.empty())
    log(LogLevel::warning, folder.string() + ": " + std::to_string(finished.size()) +
                               " episode(s) in the open file are lost, finish() was not called");
  if (meta.episodes() > 0) return;
  std::error_code ignored;
  if (fs::exists(folder / "meta" / "info.json", ignored)) return;
  // Its own folders; whoever else has put files here keeps them.
  for (const char *own : {"data", "meta", "videos"}) {
    if (fs::is_symlink(folder / own, ignored)) continue;
    if (fs::is_directory(folder / own, ignored)) remove_empty_folders(folder / own);
  }
  fs::remove(folder, ignored);
}

// Of the open file, in the order in which they are put in place.
std::vector<fs::path> LeRobotWriter::Impl::files() const {
  std::vector<fs::path> all;
  if (options.storage == FrameStorage::video)
    for (const auto &camera : options.cameras) all.push_back(video_file(camera));
  all.push_back(data_file());
  return all;
}

void LeRobotWriter::Impl::write_frame(const std::string &camera, const Tensor &frame) {
  if (options.storage == FrameStorage::pictures) {
    episode.pictures[camera].push_back(encode_png(frame));
    episode.bytes += static_cast<double>(episode.pictures[camera].back().size());
  } else {
    auto &writer = videos[camera];
    if (!writer) {
      auto encoding = options.video;
      // Halved colour needs even sizes.
      if (frame.size(0) % 2 != 0 || frame.size(1) % 2 != 0) encoding.chroma = Chroma::yuv444;
      writer = std::make_unique<VideoWriter>(prepared_staged_path(video_file(camera)), encoding);
    }
    if (episode.count == 0) first_frame[camera] = writer->frames_written();
    writer->write(frame);
  }
  sizes[camera] = {frame.size(0), frame.size(1)};
  episode.colours[camera].add(frame);
}

std::map<std::string, FeatureStatistics> LeRobotWriter::Impl::episode_statistics(
    const WrittenEpisode &written, int64_t task,
    const std::map<std::string, std::vector<Tensor>> &stacked) {
  std::map<std::string, FeatureStatistics> all;
  for (const auto &[camera, colours] : episode.colours)
    all[lerobot_camera(camera)] = colours.statistics();
  for (const auto &[feature, values] : stacked)
    all[feature] = meta.statistics_of(feature, values.front());
  const Tensor rows = at::arange(episode.count, at::kDouble).unsqueeze(1);
  const auto same = [&](int64_t value) { return at::full({episode.count, 1}, value, at::kDouble); };
  const int64_t number = meta.episodes() + static_cast<int64_t>(finished.size());
  all["timestamp"] = row_statistics(rows / options.video.fps);
  all["frame_index"] = row_statistics(rows);
  all["episode_index"] = row_statistics(same(number));
  all["index"] = row_statistics(rows + written.from);
  all["task_index"] = row_statistics(same(task));
  return all;
}

bool LeRobotWriter::Impl::file_is_full() const {
  if (static_cast<int64_t>(finished.size()) >= options.episodes_per_file) return true;
  if (open.bytes >= options.data_file_mb * kBytesPerMb) return true;
  return std::any_of(videos.begin(), videos.end(), [&](const auto &video) {
    return static_cast<double>(video.second->bytes_written()) >=
           options.video_file_mb * kBytesPerMb;
  });
}

// Data and video files end after the same episode, so that one number names
// both.
void LeRobotWriter::Impl::close_file() {
  if (finished.empty()) return;
  const LeRobotMetaWriter before = meta;
  const std::size_t episodes = finished.size();
  try {
    write_file();
    meta.stage();
  } catch (...) {  // a full disk: nothing of this file stays, and the data set is as it was
    meta = before;
    remove_file(episodes);
    throw;
  }
  meta.publish(files());
  ++file;
}

void LeRobotWriter::Impl::write_file() {
  for (auto &[camera, writer] : videos) writer->close();
  videos.clear();
  for (const auto &camera : options.cameras) {
    if (meta.size(camera) != ImageSize{}) continue;
    OrderedJson video;
    if (options.storage == FrameStorage::video)
      video = described_video(staged_path(video_file(camera)), options.video.fps);
    meta.describe_camera(camera, sizes.at(camera), std::move(video));
  }
  write_rows();
  open = {};
  for (auto &written : finished) meta.add(std::move(written));
  finished.clear();
}

void LeRobotWriter::Impl::remove_file(std::size_t episodes) {
  if (episodes > 1)
    log(LogLevel::warning, folder.string() + ": " + std::to_string(episodes) +
                               " episodes of a file that could not be written are lost");
  videos.clear();
  open = {};
  finished.clear();
  std::error_code ignored;
  for (const auto &written : files()) fs::remove(staged_path(written), ignored);
}

void LeRobotWriter::Impl::write_rows() {
  std::vector<ParquetColumn> columns;
  for (const auto &feature : options.features) {
    const Tensor values = at::cat(open.values.at(feature.name));  // [rows, columns]
    auto shape = lerobot_shape(feature);
    shape.insert(shape.begin(), values.size(0));
    if (shape.size() > 2)  // a matrix; LeRobot's own files have lists of any length there
      columns.push_back({feature.name, values.view(shape), ParquetLists::variable});
    else
      columns.push_back({feature.name, feature.columns.size() == 1 ? values.flatten() : values});
  }
  for (const auto &text : options.texts) columns.push_back({text, open.texts.at(text)});
  std::vector<int64_t> groups;
  std::vector<Tensor> times, frames, numbers, tasks;
  for (std::size_t e = 0; e < finished.size(); ++e) {
    const int64_t rows = finished[e].to - finished[e].from;
    groups.push_back(rows);
    frames.push_back(at::arange(rows, at::kLong));
    times.push_back((frames.back().to(at::kDouble) / options.video.fps).to(at::kFloat));
    numbers.push_back(at::full({rows}, meta.episodes() + static_cast<int64_t>(e), at::kLong));
    tasks.push_back(at::full({rows}, meta.task_index(finished[e].task), at::kLong));
  }
  for (const auto &[camera, pictures] : open.pictures) {
    ParquetPictures column{.bytes = pictures, .paths = {}};
    for (std::size_t i = 0; i < pictures.size(); ++i)
      column.paths.push_back("frame-" + std::to_string(i) + ".png");
    columns.push_back({lerobot_camera(camera), std::move(column)});
  }
  columns.push_back({"timestamp", at::cat(times)});
  columns.push_back({"frame_index", at::cat(frames)});
  columns.push_back({"episode_index", at::cat(numbers)});
  columns.push_back({"index", at::arange(meta.rows(), meta.rows() + open.count, at::kLong)});
  columns.push_back({"task_index", at::cat(tasks)});
  write_parquet(prepared_staged_path(data_file()), columns, {.groups = groups});
}

LeRobotWriter::LeRobotWriter(const fs::path &folder, const RecordingOptions &options) {
  const auto problems = options.validate(TargetFormat::lerobot);
  require(problems.empty(), ErrorCategory::invalid_option,
          problems.empty() ? std::string() : problems.front());
  require(has_parquet(), ErrorCategory::unsupported, folder.string() + ": " + kNoParquet);
  if (options.storage == FrameStorage::video) require_video_encoder(folder, options.video.encoder);
  std::error_code code;
  fs::create_directories(folder, code);
  require(!code, ErrorCategory::io_failure,
          folder.string() + ": cannot be created: " + code.message());
  RecordingLock lock(folder);
  finish_publishing(folder);
  remove_abandoned_files(folder);
  const auto files = first_files(folder);
  require(
      files.empty() || fs::exists(folder / "meta" / "info.json"), ErrorCategory::invalid_argument,
      folder.string() +
          ": exists already and is no LeRobot data set that could be continued: it holds " + files +
          " but no meta/info.json. If a recorder was killed here before its first file was "
          "finished, nothing refers to them: remove the folder, or choose another");
  impl_ = std::make_unique<Impl>(folder, options, std::move(lock));
}

LeRobotWriter::~LeRobotWriter() = default;

void LeRobotWriter::append(const RecordedRow &row) {
  Impl &impl = *impl_;
  require(!impl.closed, ErrorCategory::invalid_argument, impl.where() + ": is finished already");
  require(!impl.spoiled, ErrorCategory::invalid_argument,
          impl.where() + ": an earlier row could not be written; discard_episode()");
  auto values = checked_row(impl.options, row, impl.sizes, impl.where());
  impl.spoiled = true;
  for (const auto &camera : impl.options.cameras) impl.write_frame(camera, row.frames.at(camera));
  impl.spoiled = false;
  for (auto &[feature, numbers] : values) {
    impl.episode.bytes += static_cast<double>(numbers.nbytes());
    impl.episode.values[feature].push_back(std::move(numbers));
  }
  for (const auto &[column, text] : row.texts) {
    impl.episode.bytes += static_cast<double>(text.size());
    impl.episode.texts[column].push_back(text);
  }
  ++impl.episode.count;
}

int64_t LeRobotWriter::finish_episode(const std::string &task) {
  Impl &impl = *impl_;
  require(impl.episode.count > 0, ErrorCategory::invalid_argument,
          impl.folder.string() + ": the episode has no rows");
  require(!impl.spoiled, ErrorCategory::invalid_argument,
          impl.where() + ": an earlier row could not be written; discard_episode()");
  const int64_t number = next_episode();
  WrittenEpisode written{.file = impl.file,
                         .from = impl.rows_before(),
                         .to = impl.rows_before() + impl.episode.count,
                         .task = task.empty() ? impl.options.task : task};
  for (const auto &[camera, first] : impl.first_frame) {
    const auto second = [&](int64_t frame) {
      return static_cast<double>(frame) / impl.options.video.fps;
    };
    written.clips[camera] = {second(first), second(first + impl.episode.count)};
  }
  auto stacked = impl.episode.stacked();
  written.statistics =
      impl.episode_statistics(written, impl.meta.task_index(written.task), stacked);
  impl.episode.values = std::move(stacked);
  impl.open.append(std::move(impl.episode));
  impl.episode = {};
  impl.finished.push_back(std::move(written));
  if (impl.file_is_full()) impl.close_file();
  return number;
}

// Its frames stay in the open video, where no row refers to them; a video with
// nothing else goes.
void LeRobotWriter::discard_episode() {
  impl_->episode = {};
  impl_->spoiled = false;
  if (impl_->finished.empty()) impl_->videos.clear();
}

int64_t LeRobotWriter::next_episode() const noexcept {
  return impl_->meta.episodes() + static_cast<int64_t>(impl_->finished.size());
}

int64_t LeRobotWriter::rows() const noexcept { return impl_->episode.count; }

void LeRobotWriter::finish() {
  Impl &impl = *impl_;
  if (impl.closed) return;
  discard_episode();
  impl.close_file();
  require(impl.meta.episodes() > 0, ErrorCategory::invalid_argument,
          impl.folder.string() + ": no episode was written");
  impl.closed = true;
  impl.lock.reset();
}

}  // namespace foresight::data
