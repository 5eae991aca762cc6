// SPDX-License-Identifier: Apache-2.0
// Pictures that are files of their own. One small file after the other leaves a disk idle between
// them; of files that are announced it reads many at once, while earlier ones are decoded. Private
// to the data folder.
#pragma once

#include <cstdint>
#include <deque>
#include <filesystem>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "../../io/descriptor.hpp"
#include "../file_stamp.hpp"
#include "foresight/core/fnv1a.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Thread-safe.
class PictureFiles {
 public:
  using Path = std::function<std::string(int64_t episode, int64_t row)>;
  using Stamps = std::vector<std::vector<FileStamp>>;  // by episode and row, when they were opened
  PictureFiles(Path path, Stamps stamps) : path_(std::move(path)), stamps_(std::move(stamps)) {}

  std::string path(int64_t episode, int64_t row) const { return path_(episode, row); }
  /// The bytes of a file. Throws as io::read_text(), and Error(bad_file) if it has changed.
  std::string read(int64_t episode, int64_t row) const;
  /// See Dataset::identify_frames().
  void identify(Fnv1a& hash) const;
  /// See Dataset::identify_pictures().
  bool identify_pictures(int64_t episode, PictureEvidence evidence, Fnv1a& hash) const;
  /// Opens the file and has the system fetch it; read() then goes on from there. One that cannot
  /// be opened is left to read().
  void announce(int64_t episode, int64_t row) const;

 private:
  using Place = std::pair<int64_t, int64_t>;  // episode, row
  struct Open {
    std::filesystem::path path = {};
    io::Descriptor file = {};
  };
  // Beyond it the oldest are closed, and opened again when they are read: 256 is a quarter of what
  // a process may usually open, and covers two batches of 32 windows of 4 frames.
  static constexpr std::size_t kMostOpen = 256;

  Open announced(const Place& place) const;

  Path path_;
  Stamps stamps_;
  mutable std::mutex mutex_;
  mutable std::map<Place, Open> open_;
  mutable std::deque<Place> order_;  // of announcing; some may have been read
};

}  // namespace foresight::data
