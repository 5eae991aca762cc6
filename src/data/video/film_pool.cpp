// SPDX-License-Identifier: Apache-2.0
#include "film_pool.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>
#include <thread>
#include <vector>

#include "../parallel.hpp"
#include "foresight/core/log.hpp"
#include "video_file.hpp"

namespace foresight::data {
namespace {

// Opening a file again costs as much as decoding many small frames; a decoder of large ones holds
// some 20 pictures of 1.5 bytes a pixel. So: as many as fit into half a gigabyte.
std::size_t most_idle(const VideoInfo& info) {
  constexpr int64_t kBudget = int64_t{1} << 29, kReader = int64_t{1} << 20, kLeast = 16,
                    kMost = 256;  // far below what a process may open
  const int64_t bytes = kReader + info.coded_height * info.coded_width * 30;
  return static_cast<std::size_t>(std::clamp(kBudget / bytes, kLeast, kMost));
}

// Whether every packet and frame of `then` is in `now`, in the same place of the order and at the
// same time. Sizes of compressed pictures tell films apart as their bytes would.
bool begins_as(const FrameTable& now, const FrameTable& then) {
  if (then.packets.empty() || now.packets.size() < then.packets.size() ||
      now.pts.size() < then.pts.size() || !encoded_alike(*now.codec, *then.codec))
    return false;
  bool telling = false;  // sizes of raw pictures are all alike, and tell nothing
  for (std::size_t p = 0; p < then.packets.size(); ++p) {
    if (now.packets[p].size != then.packets[p].size ||
        now.packets[p].flags != then.packets[p].flags)
      return false;
    telling = telling || then.packets[p].size != then.packets[0].size;
  }
  if (!telling) return false;
  for (std::size_t f = 0; f < then.pts.size(); ++f) {
    const auto frame = static_cast<int64_t>(f);
    const double time = then.time(frame);
    if (now.packet_of[f] != then.packet_of[f] ||
        std::abs(now.time(frame) - time) > 1e-6 * std::max(1.0, std::abs(time)))
      return false;
  }
  return true;
}

struct Reopened {
  std::unique_ptr<VideoReader> reader;
  FileStamp stamp;
};

// A film that may be under way: recorders that copy it into place leave half of it for a moment.
// Empty where it cannot be read after that.
std::optional<Reopened> reopened(const std::string& file, const VideoReaderOptions& options) {
  constexpr int kTries = 20;
  for (int i = 0; i < kTries; ++i) {
    if (i > 0) std::this_thread::sleep_for(std::chrono::milliseconds(100));
    const auto before = file_stamp(file);
    try {
      auto reader = std::make_unique<VideoReader>(file, options);
      if (file_stamp(file) == before) return Reopened{std::move(reader), before};
    } catch (const Error& error) {
      if (error.category() != ErrorCategory::bad_file) throw;
    }
  }
  return std::nullopt;
}

}  // namespace

void FilmPool::add(const std::string& file, std::shared_ptr<const FrameTable> table) {
  if (!stamps_.contains(file)) stamps_.emplace(file, file_stamp(file));
  if (table != nullptr) tables_.emplace(file, std::move(table));
}

void FilmPool::look_at_ends(int64_t threads) {
  std::vector<std::string> files;
  for (const auto& [file, stamp] : stamps_)
    if (!tables_.contains(file)) files.push_back(file);
  std::vector<std::optional<CodedBytes>> ends(files.size());
  parallel_for(std::ssize(files), threads, [&](int64_t i) {
    const auto f = static_cast<std::size_t>(i);
    ends[f] = coded_bytes(files[f], stamps_.at(files[f]));
  });
  for (std::size_t f = 0; f < files.size(); ++f)
    if (ends[f]) ends_.emplace(files[f], *ends[f]);
}

FileStamp FilmPool::stamp(const std::string& file) const {
  const std::lock_guard lock(mutex_);
  return stamps_.at(file);
}

KnownFilm FilmPool::remembered(const std::string& file) const {
  const std::lock_guard lock(mutex_);
  const auto known = tables_.find(file);
  return {known == tables_.end() ? nullptr : known->second, stamps_.at(file)};
}

KnownFilm FilmPool::known(const std::string& file) {
  for (;;) {
    if (file_stamp(file) != stamp(file)) accept_growth(file);
    if (const auto film = remembered(file); film.table) return film;
    try {
      auto reader = take(file);
      if (reader->table()->packets.empty())
        give_back(std::move(reader));  // else it may not be needed again
      return remembered(file);
    } catch (const Error&) {
      if (file_stamp(file) == stamp(file)) throw;  // else it may have grown meanwhile
    }
  }
}

// A film that was not read before it changed.
bool FilmPool::goes_on(const std::string& file, const FileStamp& now,
                       const FrameTable& table) const {
  const auto& then = ends_.at(file);
  const auto known = coded_bytes(file, now, then.count);
  return known && known->ends == then.ends &&
         shows_rows_(file, table, known->offset + known->count);
}

void FilmPool::accept_growth(const std::string& file) {
  const std::lock_guard growing(growing_);
  const auto then = remembered(file);
  const auto seen = file_stamp(file);
  if (seen == then.stamp) return;  // another thread was here
  if (const auto refused = refused_.find(file);
      refused != refused_.end() && refused->second == seen)
    require_same(file, then.stamp, seen);
  const bool known = then.table || ends_.contains(file);
  auto now = known ? reopened(file, options_) : std::nullopt;
  const bool same = now && (then.table ? begins_as(*now->reader->table(), *then.table)
                                       : goes_on(file, now->stamp, *now->reader->table()));
  if (!same) {
    if (now && file_stamp(file) != now->stamp) return;  // changed again: the callers look again
    refused_[file] = now ? now->stamp : file_stamp(file);
    return require_unchanged(file, then.stamp);
  }
  if (then.table ? now->reader->num_frames() > std::ssize(then.table->pts)
                 : now->stamp.bytes > then.stamp.bytes)
    log(LogLevel::info, file + ": has more frames by now, those that it had are read");
  const std::lock_guard lock(mutex_);
  idle_.remove_if([&](const auto& reader) { return reader->path() == file; });
  tables_[file] = now->reader->table();
  stamps_[file] = now->stamp;
}

std::unique_ptr<VideoReader> FilmPool::take(const std::string& file) {
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
  if (!table) require_unchanged(file, stamp(file));  // else its table would be another state's
  const std::lock_guard lock(mutex_);
  tables_.emplace(file, reader->table());
  return reader;
}

void FilmPool::give_back(std::unique_ptr<VideoReader> reader) {
  const std::size_t most = most_idle(reader->info());
  std::unique_ptr<VideoReader> oldest;  // closed outside the lock
  const std::lock_guard lock(mutex_);
  if (tables_.at(reader->path()) != reader->table()) return;  // of the film before it grew
  idle_.push_front(std::move(reader));
  if (idle_.size() <= most) return;
  oldest = std::move(idle_.back());
  idle_.pop_back();
}

}  // namespace foresight::data
