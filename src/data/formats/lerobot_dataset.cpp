// SPDX-License-Identifier: Apache-2.0
// LeRobot data sets: numbers in Parquet files, frames in video files or as pictures in Parquet. In
// v3.0 one file holds many episodes, so a frame is found by its time; in v2.x every episode has
// files of its own.
#include <fcntl.h>

#include <algorithm>
#include <cmath>
#include <mutex>
#include <numeric>
#include <set>
#include <utility>

#include "../../io/descriptor.hpp"
#include "../file_stamp.hpp"
#include "../loaded_once.hpp"
#include "../parallel.hpp"
#include "../tables/parquet_file.hpp"
#include "../video/picture.hpp"
#include "../video/video_frames.hpp"
#include "formats.hpp"
#include "lerobot_meta.hpp"
#include "lerobot_stored_statistics.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;

// A Parquet file and the episodes that it holds, one after the other.
struct RowFile {
  fs::path path;
  int64_t first_episode = 0, episodes = 0;
  int64_t first_row = 0, rows = 0;  // in the whole data set
  FileStamp stamp = {};             // when the data set was opened

  // The file, if it is still the one that the data set was opened with.
  ParquetFile open() const {
    require_unchanged(path, stamp);
    return ParquetFile(path);
  }
};

// The data files of a set, in the order of their rows.
class RowFiles {
 public:
  RowFiles(const std::string& name, const LeRobotMeta& meta, int64_t threads) {
    int64_t row = 0;
    std::set<fs::path> seen;
    for (std::size_t e = 0; e < meta.episodes.size(); ++e) {
      const auto& episode = meta.episodes[e];
      if (files_.empty() || files_.back().path != episode.data) {
        require(seen.insert(episode.data).second, ErrorCategory::bad_file,
                name + ": episodes of " + episode.data.string() + " do not follow each other");
        files_.push_back(
            {.path = episode.data, .first_episode = static_cast<int64_t>(e), .first_row = row});
      }
      files_.back().rows += episode.length;
      ++files_.back().episodes;
      row += episode.length;
    }
    parallel_for(static_cast<int64_t>(files_.size()), threads, [&](int64_t f) {
      auto& file = files_[static_cast<std::size_t>(f)];
      file.stamp = file_stamp(file.path);
      check_rows(file, meta);
    });
  }

  const std::vector<RowFile>& files() const { return files_; }

  Tensor numbers(const std::string& column, int64_t width, Nulls nulls = Nulls::refused) const {
    std::vector<Tensor> parts;
    for (const auto& file : files_) parts.push_back(file.open().numbers(column, width, nulls));
    return at::cat(parts);
  }

  std::vector<std::string> texts(const std::string& column) const {
    std::vector<std::string> all;
    for (const auto& file : files_) {
      const auto some = file.open().texts(column);
      all.insert(all.end(), some.begin(), some.end());
    }
    return all;
  }

 private:
  // A file of another length, or with its episodes in another order, would shift every row.
  static void check_rows(const RowFile& file, const LeRobotMeta& meta) {
    const ParquetFile parquet(file.path);
    require(parquet.rows() == file.rows, ErrorCategory::bad_file,
            file.path.string() + ": has " + std::to_string(parquet.rows()) +
                " rows, but meta/ lists " + std::to_string(file.rows) + " for its " +
                std::to_string(file.episodes) + " episode(s)");
    if (!parquet.has("episode_index")) return;
    const Tensor stored = parquet.numbers("episode_index", 1).to(at::kLong).contiguous();
    const auto* index = stored.const_data_ptr<int64_t>();
    int64_t row = 0;
    for (int64_t e = file.first_episode; e < file.first_episode + file.episodes; ++e)
      for (int64_t t = 0; t < meta.episodes[static_cast<std::size_t>(e)].length; ++t, ++row)
        require(index[row] == e, ErrorCategory::bad_file,
                file.path.string() + ": row " + std::to_string(row) + " is of episode " +
                    std::to_string(index[row]) + ", but meta/ places episode " + std::to_string(e) +
                    " there");
  }

  std::vector<RowFile> files_;
};

// Times of the rows since the start of their episodes. Stored times are float32, which is coarser
// than the tolerance after a quarter of an hour; where the frame's number says the same to that
// precision, it says it better.
std::vector<double> row_times(const RowFiles& files, double fps) {
  const Tensor stored = files.numbers("timestamp", 1).to(at::kDouble).contiguous();
  const Tensor frames = files.numbers("frame_index", 1).to(at::kLong).contiguous();
  std::vector<double> times(static_cast<std::size_t>(stored.numel()));
  for (std::size_t i = 0; i < times.size(); ++i) {
    const double time = stored.const_data_ptr<double>()[i];
    const double counted = static_cast<double>(frames.const_data_ptr<int64_t>()[i]) / fps;
    const bool same = static_cast<float>(counted) == static_cast<float>(time) ||
                      std::abs(counted - time) <= 1.2e-7 * std::max(1.0, std::abs(time));
    times[i] = same ? counted : time;
  }
  return times;
}

// Pictures inside Parquet files are read by row group, the smallest piece that can be read. Half a
// gigabyte of them is kept, as windows ask for neighbouring rows; threads that want the same group
// read it once.
class StoredPictures {
 public:
  StoredPictures(std::shared_ptr<const RowFiles> files, std::string column,
                 std::vector<EpisodeRows> episodes)
      : files_(std::move(files)), column_(std::move(column)), episodes_(std::move(episodes)) {}

  std::string bytes(int64_t episode, int64_t row) const {
    const int64_t wanted = row_of(episode, row);
    const auto& file = file_of(wanted);
    const auto places = places_of(file);
    const auto place = place_of(*places, wanted);
    const auto group = groups_.get(place->first_row, [&] {
      auto pictures = file.open().pictures(column_, place - places->begin());
      auto bytes = std::accumulate(pictures.begin(), pictures.end(), int64_t{1},
                                   [](int64_t sum, const std::string& one) {
                                     return sum + static_cast<int64_t>(one.size() + sizeof one);
                                   });
      return std::pair(std::make_shared<const Group>(std::move(pictures)), bytes);
    });
    const std::string picture = group->at(static_cast<std::size_t>(wanted - place->first_row));
    require(!picture.empty(), ErrorCategory::bad_file,
            name(episode, row) + ": holds no picture (its bytes are missing)");
    return picture;
  }

  std::string name(int64_t episode, int64_t row) const {
    return column_ + " of " + episodes_[static_cast<std::size_t>(episode)].name + ", row " +
           std::to_string(row);
  }

  // The rows of a window mostly lie in one group, whose bytes are asked for once.
  void announce(int64_t episode, int64_t row) const {
    const int64_t wanted = row_of(episode, row);
    const auto& file = file_of(wanted);
    const auto places = places_of(file);
    const auto place = place_of(*places, wanted);
    if (groups_.holds(place->first_row)) return;
    {
      const std::lock_guard lock(mutex_);
      if (std::exchange(announced_, place->first_row) == place->first_row) return;
    }
    const io::Descriptor open(::open(file.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (open)
      ::posix_fadvise(open.get(), place->bytes.first, place->bytes.count, POSIX_FADV_WILLNEED);
  }

 private:
  struct Place {            // of a group
    int64_t first_row = 0;  // in the whole data set
    FileBytes bytes;
  };
  using Group = std::vector<std::string>;  // its pictures
  static constexpr int64_t kMostBytes = int64_t{1} << 29;

  static std::vector<Place>::const_iterator place_of(const std::vector<Place>& places,
                                                     int64_t row) {
    return std::upper_bound(places.begin(), places.end(), row,
                            [](int64_t r, const Place& p) { return r < p.first_row; }) -
           1;
  }

  int64_t row_of(int64_t episode, int64_t row) const {
    return episodes_[static_cast<std::size_t>(episode)].first + row;
  }

  const RowFile& file_of(int64_t row) const {
    const auto& all = files_->files();
    return *(std::upper_bound(all.begin(), all.end(), row,
                              [](int64_t r, const RowFile& f) { return r < f.first_row; }) -
             1);
  }

  // Of all groups of a file, whose footer is read once for it.
  std::shared_ptr<const std::vector<Place>> places_of(const RowFile& file) const {
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = places_.find(file.first_row); known != places_.end())
        return known->second;
    }
    const ParquetFile parquet = file.open();
    std::vector<Place> places;
    int64_t row = file.first_row;
    for (std::size_t g = 0; g < parquet.group_rows().size(); ++g) {
      places.push_back({row, parquet.bytes_of(column_, static_cast<int64_t>(g))});
      row += parquet.group_rows()[g];
    }
    const std::lock_guard lock(mutex_);
    return places_
        .emplace(file.first_row, std::make_shared<const std::vector<Place>>(std::move(places)))
        .first->second;
  }

  std::shared_ptr<const RowFiles> files_;
  std::string column_;
  std::vector<EpisodeRows> episodes_;
  mutable std::mutex mutex_;
  mutable LoadedOnce<Group> groups_{kMostBytes};
  mutable std::map<int64_t, std::shared_ptr<const std::vector<Place>>> places_;  // by first row
  mutable int64_t announced_ = -1;  // first row of the last group whose bytes were asked for
};

class LeRobotOpener {
 public:
  LeRobotOpener(const fs::path& folder, const DatasetOptions& options)
      : meta_(read_lerobot_meta(folder)), options_(options) {
    recording_.name = folder.string();
    recording_.fps = meta_.fps;
    recording_.notes = meta_.notes;
    if (meta_.robot_type != kUnknownRobot) recording_.notes[kRobotNote] = meta_.robot_type;
    recording_.remarks = meta_.remarks;
    for (const auto& [split, range] : meta_.splits)
      recording_.splits[split] = [folder, split = split, range = range,
                                  count = static_cast<int64_t>(meta_.episodes.size())] {
        return lerobot_split(folder, split, range, count);
      };
    recording_.statistics = [folder, features = meta_.features] {
      return read_lerobot_statistics(folder, features);
    };
    recording_.actions = {{"action"}};
    recording_.states = {{"observation.state"}};
    list_episodes();
    files_ = std::make_shared<const RowFiles>(recording_.name, meta_, options.threads);
    list_features();
    open_camera();
  }

  OpenedDataset open() { return make_columnar_dataset(std::move(recording_), options_); }

 private:
  void list_episodes() {
    int64_t row = 0;
    for (std::size_t e = 0; e < meta_.episodes.size(); ++e) {
      const int64_t length = meta_.episodes[e].length;
      recording_.episodes.push_back({"episode " + std::to_string(e), row, length});
      row += length;
    }
  }

  void list_features() {
    for (const auto& feature : meta_.features) {
      if (feature.dtype == "video" || feature.dtype == "image") {
        if (feature.depth)
          recording_.skipped[feature.name] = "it is a depth camera, only colour is read";
        else
          recording_.cameras.push_back(feature.name);
      } else if (feature.dtype == "string" || feature.dtype == "language") {
        recording_.texts.push_back(
            {feature.name, [files = files_, name = feature.name] { return files->texts(name); }});
      } else {
        recording_.features.push_back({feature.name, feature.width,
                                       [files = files_, feature] {
                                         return files->numbers(feature.name, feature.width,
                                                               Nulls::nan);
                                       },
                                       feature.shape, feature.names});
      }
    }
    if (!meta_.tasks.empty())
      recording_.texts.push_back(
          {"task", [files = files_, tasks = meta_.tasks, name = recording_.name] {
             return task_texts(*files, tasks, name);
           }});
  }

  static std::vector<std::string> task_texts(const RowFiles& files,
                                             const std::map<int64_t, std::string>& tasks,
                                             const std::string& name) {
    const Tensor index = files.numbers("task_index", 1).to(at::kLong).contiguous();
    std::vector<std::string> texts;
    for (int64_t i = 0; i < index.numel(); ++i) {
      const auto task = tasks.find(index.const_data_ptr<int64_t>()[i]);
      require(task != tasks.end(), ErrorCategory::bad_file,
              name + ": row " + std::to_string(i) + " has task_index " +
                  std::to_string(index.const_data_ptr<int64_t>()[i]) +
                  ", which meta/tasks does not list");
      texts.push_back(task->second);
    }
    return texts;
  }

  void open_camera() {
    require(!recording_.cameras.empty(), ErrorCategory::not_found,
            recording_.name +
                ": has no camera: meta/info.json tells no feature of dtype video or image that is "
                "read" +
                not_read(recording_.skipped));
    const std::string camera = chosen_camera(recording_.name, recording_.cameras, options_);
    const auto feature = std::find_if(meta_.features.begin(), meta_.features.end(),
                                      [&](const auto& one) { return one.name == camera; });
    for (const auto& file : files_->files()) recording_.frame_files.push_back(file.path);
    if (feature->dtype == "image") {
      const auto pictures =
          std::make_shared<const StoredPictures>(files_, camera, recording_.episodes);
      EncodedPictures encoded = {
          .read = [pictures](int64_t e, int64_t row) { return pictures->bytes(e, row); },
          .name = [pictures](int64_t e, int64_t row) { return pictures->name(e, row); },
          .announce = [pictures](int64_t e, int64_t row) { pictures->announce(e, row); }};
      std::vector<int64_t> all(recording_.episodes.size());
      std::iota(all.begin(), all.end(), 0);
      recording_.frames = first_that_shows(all, options_.unreadable, [&](int64_t episode) {
        encoded.first = episode;
        return picture_frames(encoded, options_.video);
      });
      return;
    }
    std::vector<EpisodeClip> clips;
    for (std::size_t e = 0; e < meta_.episodes.size(); ++e) {
      const auto& video = meta_.episodes[e].videos.at(camera);
      clips.push_back({.file = video.file,
                       .start = video.start,
                       .first_row = recording_.episodes[e].first,
                       .rows = meta_.episodes[e].length});
    }
    require_files(recording_, clips, options_.unreadable);
    recording_.frames =
        video_frames(std::move(clips),
                     {.times = [files = files_, fps = meta_.fps] { return row_times(*files, fps); },
                      .tolerance_s = options_.tolerance_s,
                      .shared = meta_.version == "v3.0",
                      .threads = options_.threads},
                     options_.video, options_.unreadable);
  }

  LeRobotMeta meta_;
  DatasetOptions options_;
  Recording recording_;
  std::shared_ptr<const RowFiles> files_;
};

}  // namespace

OpenedDataset open_lerobot(const fs::path& folder, const DatasetOptions& options) {
  return LeRobotOpener(folder, options).open();
}

}  // namespace foresight::data
