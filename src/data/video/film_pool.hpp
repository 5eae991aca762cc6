// SPDX-License-Identifier: Apache-2.0
// The films of a data set: their tables of frames, open readers that nobody is using, and whether
// they are still those that the data set was opened with. Private to the data folder.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "../file_stamp.hpp"
#include "coded_bytes.hpp"
#include "foresight/data/video_reader.hpp"
#include "frame_table.hpp"

namespace foresight::data {

/// What is known of a film, and of which state of the file.
struct KnownFilm {
  std::shared_ptr<const FrameTable> table;
  FileStamp stamp;
};

/// A reader is taken out while it reads, so each is used by one thread at a time; when two threads
/// want the same film, a second reader is opened. Tables of frames outlive their readers: opening a
/// film again then reads no more than its header.
class FilmPool {
 public:
  /// Whether every row that is asked of a film has a frame in the bytes before `end`.
  using ShowsRows =
      std::function<bool(const std::string& file, const FrameTable& table, int64_t end)>;

  explicit FilmPool(VideoReaderOptions options, ShowsRows shows_rows = {})
      : options_(std::move(options)), shows_rows_(std::move(shows_rows)) {}

  /// A film of the data set, as it lies there now, and its table if it has been opened. Before all
  /// else, and by one thread.
  void add(const std::string& file, std::shared_ptr<const FrameTable> table);

  /// Looks at how the films that were added without a table begin and end, on so many threads: so
  /// they are known again if they grow before they are first read. Before all else, too.
  void look_at_ends(int64_t threads);

  /// As the film lies there now: what has been read of it is where its table says. Recorders that
  /// append an episode to a film write it anew (LeRobot's do); while everything that was in it
  /// still is, it goes on being read, without what is new. That is known of a film that has been
  /// read by its packets; of another by its ends, if they were looked at, and by the rows that it
  /// has to show. Throws Error(bad_file) that names another film or one that is cut,
  /// Error(not_found) for one that is gone, and what VideoReader and `shows_rows` throw.
  KnownFilm known(const std::string& file);

  /// When it was added, or last found to have grown.
  FileStamp stamp(const std::string& file) const;

  std::unique_ptr<VideoReader> take(const std::string& file);
  void give_back(std::unique_ptr<VideoReader> reader);

 private:
  KnownFilm remembered(const std::string& file) const;  // without a table until it is opened
  void accept_growth(const std::string& file);
  bool goes_on(const std::string& file, const FileStamp& now, const FrameTable& table) const;

  VideoReaderOptions options_;
  ShowsRows shows_rows_;
  mutable std::mutex mutex_;
  std::list<std::unique_ptr<VideoReader>> idle_;  // most recently used first
  std::unordered_map<std::string, std::shared_ptr<const FrameTable>> tables_;
  std::unordered_map<std::string, FileStamp> stamps_;
  std::unordered_map<std::string, CodedBytes> ends_;  // when they were added; not changed later
  std::mutex growing_;  // held by the thread that looks at a film that has changed
  std::unordered_map<std::string, FileStamp> refused_;  // states that are not the film's; with it
};

}  // namespace foresight::data
