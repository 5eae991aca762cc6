// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/frame_cache.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <iomanip>
#include <mutex>
#include <numeric>
#include <set>
#include <sstream>
#include <thread>

#include "foresight/core/log.hpp"
#include "frame_file.hpp"
#include "parallel.hpp"
#include "video/frame_pieces.hpp"

namespace foresight::data {

std::vector<std::string> FrameCacheOptions::validate() const {
  Rules rules("FrameCacheOptions");
  rules.check(budget_mb >= 0 && budget_mb <= int64_t{1} << 40, "budget_mb",
              static_cast<double>(budget_mb), "must be >= 0");
  rules.check(threads >= 0 && threads <= 1024, "threads", static_cast<double>(threads),
              "must be 0..1024");
  return rules.problems();
}

namespace {

// The name of the file for a camera, a way of decoding and a choice of episodes; what state of the
// recording it is of, the file says.
std::string frame_file_name(const Dataset& dataset, const FrameFile::Content& content) {
  std::error_code code;
  auto path = std::filesystem::weakly_canonical(dataset.name(), code);
  if (code) path = dataset.name();
  Fnv1a hash;
  add_name(hash, path.string());
  add_name(hash, dataset.camera());
  dataset.identify_decoding(hash);
  for (const auto& [episode, frames] : content.episodes) hash.add(episode);
  std::ostringstream name;
  name << path.stem().string() << '-' << content.size.width << 'x' << content.size.height << '-'
       << std::hex << std::setw(16) << std::setfill('0') << hash.value() << ".frames";
  return name.str();
}

// Thrown to end decoding.
struct Stopped {};

// Held by one process at a time. A file system without locks costs only double work.
class FolderLock {
 public:
  // Throws Stopped when `stop` says so before the other process is done.
  FolderLock(const std::filesystem::path& folder, const std::function<bool()>& stop)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
    while (descriptor_ >= 0 && ::flock(descriptor_, LOCK_EX | LOCK_NB) != 0) {
      if (errno == EINTR) continue;
      if (errno != EWOULDBLOCK) break;
      if (stop && stop()) {
        ::close(descriptor_);
        throw Stopped{};
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(50));
    }
  }
  ~FolderLock() {
    if (descriptor_ >= 0) ::close(descriptor_);
  }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  int descriptor_;
};

}  // namespace

// Decodes episodes in pieces, and tells how far it is. Thread-safe.
class FrameCache::Decoding {
 public:
  Decoding(const Dataset& dataset, const std::vector<int64_t>& chosen, const FrameCacheHooks& hooks,
           Unreadable unreadable)
      : hooks_(hooks), dataset_(dataset), unreadable_(unreadable) {
    const ImageSize size = dataset.image_size();
    frame_bytes_ = size.height * size.width * 3;
    all_.all_episodes = std::ssize(chosen);
    for (const int64_t episode : chosen) all_.all_frames += dataset.length(episode);
    all_.all_bytes = all_.all_frames * frame_bytes_;
  }

  const std::function<bool()>& stop() const { return hooks_.stop; }

  // Calls read(length, frame_bytes) with those of an episode; false if its frames cannot be read.
  template <class Read>
  bool of(int64_t episode, Read&& read) const {
    try {
      read(dataset_.length(episode), frame_bytes_);
      return true;
    } catch (const Error& problem) {
      if (unreadable_ == Unreadable::fail || !is_unreadable(problem)) throw;
      log(LogLevel::warning, std::string("not kept in memory: ") + problem.what());
      return false;
    }
  }

  // Throws Stopped.
  Tensor piece(int64_t episode, int64_t first, int64_t count) {
    if (hooks_.stop && hooks_.stop()) throw Stopped{};
    Tensor frames = dataset_.read_frames(episode, row_range(first, count));
    tell(count, first + count == dataset_.length(episode));
    return frames;
  }

  void end() {
    const std::lock_guard lock(mutex_);
    if (told_) say();
  }

 private:
  using Clock = std::chrono::steady_clock;

  void tell(int64_t frames, bool episode_ends) {
    const std::lock_guard lock(mutex_);
    all_.frames += frames;
    all_.bytes += frames * frame_bytes_;
    all_.episodes += episode_ends ? 1 : 0;
    if (std::chrono::duration<double>(Clock::now() - last_).count() < hooks_.interval_s) return;
    last_ = Clock::now();
    told_ = true;
    say();
  }

  void say() const {
    if (hooks_.progress) return hooks_.progress(all_);
    std::ostringstream text;
    text << dataset_.name() << ": decoded " << all_.episodes << " of " << all_.all_episodes
         << " episodes, " << std::fixed << std::setprecision(1)
         << static_cast<double>(all_.bytes) * 1e-9 << " of "
         << static_cast<double>(all_.all_bytes) * 1e-9 << " GB";
    log(LogLevel::info, text.str());
  }

  const FrameCacheHooks& hooks_;
  const Dataset& dataset_;
  Unreadable unreadable_;
  int64_t frame_bytes_ = 0;
  std::mutex mutex_;
  DecodingProgress all_;
  Clock::time_point last_ = Clock::now();
  bool told_ = false;
};

FrameCache::FrameCache(std::shared_ptr<const Dataset> dataset, const FrameCacheOptions& options,
                       std::vector<int64_t> episodes, Unreadable unreadable,
                       const FrameCacheHooks& hooks)
    : dataset_(std::move(dataset)) {
  require_valid(options);
  require(dataset_ != nullptr, ErrorCategory::invalid_argument, "FrameCache: no data set");
  episodes_.resize(static_cast<std::size_t>(dataset_->num_episodes()));
  if (episodes.empty()) {
    episodes.resize(episodes_.size());
    std::iota(episodes.begin(), episodes.end(), 0);
  }
  const ImageSize size = dataset_->image_size();
  const int64_t frame_bytes = size.height * size.width * 3;
  int64_t left = options.budget_mb * 1000000 / frame_bytes;  // frames
  std::vector<int64_t> chosen;
  std::set<int64_t> seen;
  for (int64_t episode : episodes) {
    if (!seen.insert(episode).second) continue;
    const int64_t length = dataset_->length(episode);
    if (length > left) break;
    left -= length;
    chosen.push_back(episode);
  }
  Decoding decoding(*dataset_, chosen, hooks, unreadable);
  try {
    if (options.folder.empty() || chosen.empty())
      hold_in_memory(chosen, options.threads, decoding);
    else
      hold_in_file(chosen, options, decoding);
  } catch (const Stopped&) {
    log(LogLevel::info, dataset_->name() + ": decoding of frames was stopped");
  }
  decoding.end();
  for (const int64_t episode : chosen)
    if (held(episode).defined()) frames_held_ += dataset_->length(episode);
}

void FrameCache::hold_in_memory(const std::vector<int64_t>& chosen, int64_t threads,
                                Decoding& decoding) {
  parallel_for(std::ssize(chosen), threads, [&](int64_t i) {
    const int64_t episode = chosen[static_cast<std::size_t>(i)];
    Tensor frames;
    decoding.of(episode, [&](int64_t length, int64_t frame_bytes) {
      frames = in_pieces(length, frame_bytes, [&](int64_t first, int64_t count) {
        return decoding.piece(episode, first, count);
      });
    });
    episodes_[static_cast<std::size_t>(episode)] = frames;
  });
}

void FrameCache::hold_in_file(const std::vector<int64_t>& chosen, const FrameCacheOptions& options,
                              Decoding& decoding) {
  namespace fs = std::filesystem;
  const fs::path folder = options.folder;
  std::error_code code;
  fs::create_directories(folder, code);
  require(fs::is_directory(folder), ErrorCategory::io_failure,
          "FrameCacheOptions.folder = " + options.folder + ": is no folder and cannot be made one" +
              (code ? ": " + code.message() : ""));
  FrameFile::Content content{fingerprint(*dataset_), dataset_->image_size(), {}};
  for (const int64_t episode : chosen) content.episodes.emplace(episode, dataset_->length(episode));
  const fs::path path = folder / frame_file_name(*dataset_, content);
  const FolderLock lock(folder, decoding.stop());  // processes that start together decode once
  std::string problem;
  auto file = FrameFile::open(path, content, problem);
  if (file == nullptr) {
    log(LogLevel::info, path.string() + ": " + problem + "; " +
                            std::to_string(content.episodes.size()) +
                            " episodes are decoded to it");
    FrameFile::write(path, content, options.threads,
                     [&](int64_t episode, const FrameFile::Put& put) {
                       return decoding.of(episode, [&](int64_t length, int64_t frame_bytes) {
                         visit_pieces(length, frame_bytes, [&](int64_t first, int64_t count) {
                           put(first, decoding.piece(episode, first, count));
                         });
                       });
                     });
    file = FrameFile::open(path, content, problem);
    require(file != nullptr, ErrorCategory::io_failure,
            path.string() + ": just written, " + problem);
  }
  in_file_ = true;
  for (const auto& [episode, frames] : file->episodes())
    episodes_[static_cast<std::size_t>(episode)] = frames;
}

Tensor FrameCache::held(int64_t episode) const {
  dataset_->length(episode);  // checks the number
  return episodes_[static_cast<std::size_t>(episode)];
}

std::vector<int64_t> FrameCache::readable(const std::vector<int64_t>& episodes) const {
  const ImageSize size = dataset_->image_size();
  std::vector<int64_t> good;
  for (const int64_t episode : episodes) {
    try {
      const int64_t length = held(episode).defined() ? 0 : dataset_->length(episode);
      visit_pieces(length, size.height * size.width * 3, [&](int64_t first, int64_t count) {
        dataset_->read_frames(episode, row_range(first, count));
      });
      good.push_back(episode);
    } catch (const Error& problem) {
      if (!is_unreadable(problem)) throw;
    }
  }
  return good;
}

void FrameCache::copy(int64_t episode, at::IntArrayRef rows, std::uint8_t* out) const {
  const ImageSize size = dataset_->image_size();
  const int64_t frame_bytes = size.height * size.width * 3, length = dataset_->length(episode);
  const Tensor& kept = episodes_[static_cast<std::size_t>(episode)];
  if (!kept.defined()) {
    const Tensor decoded = dataset_->read_frames(episode, rows);
    std::memcpy(out, decoded.const_data_ptr<std::uint8_t>(),
                static_cast<std::size_t>(decoded.numel()));
    return;
  }
  const auto* all = kept.const_data_ptr<std::uint8_t>();
  for (int64_t row : rows) {
    if (row < 0 || row >= length)
      throw Error(ErrorCategory::invalid_argument, dataset_->name() + ": " +
                                                       dataset_->episode_name(episode) +
                                                       " has no frame " + std::to_string(row));
    std::memcpy(out, all + row * frame_bytes, static_cast<std::size_t>(frame_bytes));
    out += frame_bytes;
  }
}

void FrameCache::announce(int64_t episode, at::IntArrayRef rows) const noexcept {
  try {
    const Tensor& kept = episodes_[static_cast<std::size_t>(episode)];
    if (!kept.defined())
      dataset_->announce_frames(episode, rows);
    else if (in_file_)
      FrameFile::announce(kept, rows);
  } catch (const std::exception&) {  // copy() meets the same, and says it
  }
}

Tensor FrameCache::frames(int64_t episode, at::IntArrayRef rows) const {
  const ImageSize size = dataset_->image_size();
  Tensor out =
      at::empty({static_cast<int64_t>(rows.size()), size.height, size.width, 3}, at::kByte);
  copy(episode, rows, out.mutable_data_ptr<std::uint8_t>());
  return out;
}

}  // namespace foresight::data
