// SPDX-License-Identifier: Apache-2.0
#include "video_frames.hpp"

#include <algorithm>
#include <cmath>
#include <exception>
#include <iterator>
#include <list>
#include <map>
#include <mutex>
#include <set>
#include <unordered_map>

#include "../file_stamp.hpp"
#include "../parallel.hpp"
#include "packet_decoder.hpp"

namespace foresight::data {
namespace {

// Open readers that nobody is using. A reader is taken out while it reads, so each is used by one
// thread at a time; when two threads want the same file, a second reader is opened. Tables of
// frames outlive their readers: opening a file again then reads no more than its header.
class ReaderPool {
 public:
  explicit ReaderPool(VideoReaderOptions options) : options_(std::move(options)) {}

  void know(const std::string& file, std::shared_ptr<const FrameTable> table) {
    if (table != nullptr) tables_.emplace(file, std::move(table));
  }

  /// Opens the file if it has not been opened yet.
  std::shared_ptr<const FrameTable> table(const std::string& file) {
    {
      const std::lock_guard lock(mutex_);
      if (const auto known = tables_.find(file); known != tables_.end()) return known->second;
    }
    auto reader = take(file);
    auto table = reader->table();
    if (table->packets.empty()) give_back(std::move(reader));  // else it may not be needed again
    return table;
  }

  std::unique_ptr<VideoReader> take(const std::string& file) {
    std::shared_ptr<const FrameTable> table;
    {
      const std::lock_guard lock(mutex_);
      for (auto it = idle_.begin(); it != idle_.end(); ++it) {
        if ((*it)->path() != file) continue;
        auto reader = std::move(*it);
        idle_.erase(it);
        return reader;
      }
      if (const auto known = tables_.find(file); known != tables_.end()) table = known->second;
    }
    auto reader = std::make_unique<VideoReader>(file, options_, table);
    const std::lock_guard lock(mutex_);
    tables_.emplace(file, reader->table());
    return reader;
  }

  void give_back(std::unique_ptr<VideoReader> reader) {
    const std::size_t most = most_idle(reader->info());
    std::unique_ptr<VideoReader> oldest;  // closed outside the lock
    const std::lock_guard lock(mutex_);
    idle_.push_front(std::move(reader));
    if (idle_.size() <= most) return;
    oldest = std::move(idle_.back());
    idle_.pop_back();
  }

 private:
  // Opening a file again costs as much as decoding many small frames; a decoder of large ones holds
  // some 20 pictures of 1.5 bytes a pixel. So: as many as fit into half a gigabyte.
  static std::size_t most_idle(const VideoInfo& info) {
    constexpr int64_t kBudget = int64_t{1} << 29, kReader = int64_t{1} << 20, kLeast = 16,
                      kMost = 256;  // far below what a process may open
    const int64_t bytes = kReader + info.coded_height * info.coded_width * 30;
    return static_cast<std::size_t>(std::clamp(kBudget / bytes, kLeast, kMost));
  }

  VideoReaderOptions options_;
  std::mutex mutex_;
  std::list<std::unique_ptr<VideoReader>> idle_;  // most recently used first
  std::unordered_map<std::string, std::shared_ptr<const FrameTable>> tables_;
};

class VideoFrames final : public FrameSource {
 public:
  VideoFrames(std::vector<EpisodeClip> clips, FrameLookup lookup, const VideoReaderOptions& options,
              Unreadable unreadable)
      : clips_(std::move(clips)), lookup_(std::move(lookup)), pool_(options), decoders_(options) {
    for (const auto& clip : clips_)
      if (const auto file = clip.file.string(); !file.empty() && !stamps_.contains(file))
        stamps_.emplace(file, file_stamp(clip.file));
    for (auto& clip : clips_) pool_.know(clip.file.string(), std::move(clip.table));
    find_size(unreadable);
  }

  ImageSize size() const override { return size_; }

  Tensor read(int64_t episode, at::IntArrayRef rows) const override {
    const EpisodeClip& clip = clips_[static_cast<std::size_t>(episode)];
    const auto file = clip.file.string();
    require_unchanged(clip.file, stamps_.at(file));
    const auto table = pool_.table(file);
    std::vector<int64_t> frames;
    for (const int64_t row : rows) frames.push_back(frame_of(*table, clip, row));
    if (Tensor pictures = read_packets(*table, file, frames); pictures.defined()) return pictures;
    auto reader = pool_.take(file);
    const ImageSize found{reader->info().height, reader->info().width};
    require(found == size_, ErrorCategory::bad_file,
            clip.file.string() + ": frames are " + std::to_string(found.width) + "x" +
                std::to_string(found.height) + ", but those of " + size_of_ + " are " +
                std::to_string(size_.width) + "x" + std::to_string(size_.height) +
                "; choose one size with DatasetOptions.video.height and .width "
                "(--reading.video.height and .width)");
    Tensor pictures = reader->frames(frames);
    pool_.give_back(std::move(reader));
    return pictures;
  }

  void identify(Fnv1a& hash) const override {
    for (const auto& clip : clips_) {
      hash.add(clip.file.filename().string());
      hash.add(&clip.start, sizeof clip.start);
      hash.add(clip.first_row);
      hash.add(clip.stride);
      for (const int64_t frame : clip.frames) hash.add(frame);
      if (!clip.file.empty()) hash.add(&stamps_.at(clip.file.string()), sizeof(FileStamp));
    }
  }

  bool identify_pictures(int64_t episode, int64_t, PictureEvidence evidence,
                         Fnv1a& hash) const override {
    const auto& file = clips_[static_cast<std::size_t>(episode)].file;
    if (file.empty()) return false;
    const auto& stamp = stamps_.at(file.string());
    hash.add(stamp.bytes);
    return evidence == PictureEvidence::sizes || add_sample(hash, file, stamp);
  }

  void announce(int64_t episode, at::IntArrayRef rows) const override {
    const EpisodeClip& clip = clips_[static_cast<std::size_t>(episode)];
    const auto file = clip.file.string();
    require_unchanged(clip.file, stamps_.at(file));  // its table is kept
    const auto table = pool_.table(file);
    std::vector<int64_t> frames;
    for (const int64_t row : rows) frames.push_back(frame_of(*table, clip, row));
    announce_packets(*table, file, std::move(frames));
  }

 private:
  void find_size(Unreadable unreadable) {
    std::set<std::filesystem::path> looked_at = {""};
    std::exception_ptr first_problem;
    for (auto& clip : clips_) {
      if (!looked_at.insert(clip.file).second) continue;
      try {
        auto reader = pool_.take(clip.file.string());
        size_ = {reader->info().height, reader->info().width};
        size_of_ = clip.file.string();
        pool_.give_back(std::move(reader));
        return;
      } catch (const Error& problem) {
        if (unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
        if (!first_problem) first_problem = std::current_exception();
      }
    }
    if (first_problem) std::rethrow_exception(first_problem);
    throw Error(ErrorCategory::bad_file, "there is no film that can be read");
  }

  // The quick way, undefined where it does not go.
  Tensor read_packets(const FrameTable& table, const std::string& file,
                      const std::vector<int64_t>& frames) const {
    if (table.packets.empty() || frames.empty()) return {};
    auto decoder = decoders_.take(table, file, frames.front());
    if (decoder->height() != size_.height || decoder->width() != size_.width) return {};
    Tensor pictures =
        at::empty({static_cast<int64_t>(frames.size()), size_.height, size_.width, 3}, at::kByte);
    if (!decoder->read(table, file, frames, pictures.mutable_data_ptr<std::uint8_t>())) return {};
    decoders_.give_back(std::move(decoder));
    return pictures;
  }

  int64_t frame_of(const FrameTable& table, const EpisodeClip& clip, int64_t row) const {
    if (!lookup_.times) {
      const int64_t frame =
          clip.frames.empty() ? row * clip.stride : clip.frames.at(static_cast<std::size_t>(row));
      const auto available = static_cast<int64_t>(table.pts.size());
      if (frame >= 0 && frame < available) return frame;
      throw Error(ErrorCategory::bad_file,
                  clip.file.string() + ": has " + std::to_string(available) + " frames, row " +
                      std::to_string(row) + " needs frame " + std::to_string(frame));
    }
    std::call_once(times_read_, [this] { times_ = lookup_.times(); });
    // In double: at 1000 s the steps of float32 are as large as the tolerance.
    const double time = clip.start + times_.at(static_cast<std::size_t>(clip.first_row + row));
    if (!std::isfinite(time))
      throw Error(ErrorCategory::non_finite, clip.file.string() + ": the time of row " +
                                                 std::to_string(row) +
                                                 " of its episode is not a finite number");
    const int64_t frame = table.nearest(time);
    if (std::abs(table.time(frame) - time) > lookup_.tolerance_s)
      throw Error(
          ErrorCategory::bad_file,
          clip.file.string() + ": no frame within " + std::to_string(lookup_.tolerance_s) +
              " s of t = " + std::to_string(time) + " s (row " + std::to_string(row) +
              " of its episode), nearest is " + std::to_string(table.time(frame)) +
              " s; widen DatasetOptions.tolerance_s (--reading.tolerance_s), at most to half a "
              "frame, or encode the file again");
    return frame;
  }

  std::vector<EpisodeClip> clips_;  // by episode
  FrameLookup lookup_;
  mutable ReaderPool pool_;
  mutable PacketDecoders decoders_;
  std::unordered_map<std::string, FileStamp> stamps_;  // of the files as they were opened
  ImageSize size_;
  std::string size_of_;  // the file that has it
  mutable std::once_flag times_read_;
  mutable std::vector<double> times_;
};

}  // namespace

std::shared_ptr<const FrameSource> video_frames(std::vector<EpisodeClip> clips, FrameLookup lookup,
                                                const VideoReaderOptions& options,
                                                Unreadable unreadable) {
  return std::make_shared<VideoFrames>(std::move(clips), std::move(lookup), options, unreadable);
}

void require_files(Recording& recording, std::vector<EpisodeClip>& clips, Unreadable unreadable) {
  std::map<std::filesystem::path, bool> there;
  for (std::size_t e = 0; e < clips.size(); ++e) {
    auto& file = clips[e].file;
    if (!there.contains(file)) there[file] = std::filesystem::exists(file);
    if (there[file]) continue;
    const auto problem = file.string() + ": no such file, but " + recording.name + " refers to it";
    require(unreadable == Unreadable::skip, ErrorCategory::not_found, problem);
    recording.unreadable.emplace(static_cast<int64_t>(e), problem);
    file.clear();
  }
}

void open_films(Recording& recording, std::vector<EpisodeClip>& clips,
                const DatasetOptions& options,
                const std::function<void(std::size_t, const VideoReader&)>& check) {
  std::vector<std::string> problems(clips.size()), remarks(clips.size());
  std::vector<double> rates(clips.size());
  parallel_for(std::ssize(clips), options.threads, [&](int64_t episode) {
    const auto e = static_cast<std::size_t>(episode);
    if (clips[e].file.empty()) return;
    try {
      const VideoReader film(clips[e].file.string(), options.video);
      check(e, film);
      clips[e].table = film.table();
      rates[e] = film.info().average_rate;
      remarks[e] = uneven_frames(film);
    } catch (const Error& problem) {
      if (options.unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
      problems[e] = problem.what();
    }
  });
  for (std::size_t e = 0; e < clips.size(); ++e) {
    if (!problems[e].empty()) {
      recording.unreadable.emplace(static_cast<int64_t>(e), problems[e]);
      clips[e].file.clear();
    }
    if (!remarks[e].empty()) recording.remarks.push_back(remarks[e]);
    if (recording.fps <= 0) recording.fps = rates[e];
  }
}

std::string uneven_frames(const VideoReader& film) {
  if (film.info().constant_rate) return {};
  return film.path() + ": frames are not equally spaced in time; rows are matched by frame number";
}

}  // namespace foresight::data
