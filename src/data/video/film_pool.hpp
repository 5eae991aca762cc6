// SPDX-License-Identifier: Apache-2.0
// The films of a data set: their tables of frames, open readers that nobody is using, and whether
// they are still those that the data set was opened with. Private to the data folder.
#pragma once

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "../file_stamp.hpp"
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
  explicit FilmPool(VideoReaderOptions options) : options_(std::move(options)) {}

  /// A film of the data set, as it lies there now, and its table if it has been opened. Before all
  /// else, and by one thread.
  void add(const std::string& file, std::shared_ptr<const FrameTable> table);

  /// As the film lies there now: what has been read of it is where its table says. Recorders that
  /// append an episode to a film write it anew (LeRobot's do); while everything that was in it
  /// still is, it goes on being read, without what is new, once it has been read before. Throws
  /// Error(bad_file) that names another film or one that is cut, Error(not_found) for one that is
  /// gone, and what VideoReader throws.
  KnownFilm known(const std::string& file);

  /// When it was added, or last found to have grown.
  FileStamp stamp(const std::string& file) const;

  std::unique_ptr<VideoReader> take(const std::string& file);
  void give_back(std::unique_ptr<VideoReader> reader);

 private:
  KnownFilm remembered(const std::string& file) const;  // without a table until it is opened
  void accept_growth(const std::string& file);

  VideoReaderOptions options_;
  mutable std::mutex mutex_;
  std::list<std::unique_ptr<VideoReader>> idle_;  // most recently used first
  std::unordered_map<std::string, std::shared_ptr<const FrameTable>> tables_;
  std::unordered_map<std::string, FileStamp> stamps_;
  std::mutex growing_;  // held by the thread that looks at a film that has changed
  std::unordered_map<std::string, FileStamp> refused_;  // states that are not the film's; with it
};

}  // namespace foresight::data
