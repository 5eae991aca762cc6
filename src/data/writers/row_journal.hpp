// SPDX-License-Identifier: Apache-2.0
// The rows of the episode that is being recorded, on disk as they come, so that they outlive a
// process that is killed: a video file is of no use until it is closed. Private to the data folder.
//
// One file beside the recording, FOLDER.unfinished: records of a length, an FNV-1a of their bytes,
// and the bytes. The first record is JSON and says what the rows are and which episode they are of;
// every further one is a row. Frames are not encoded: it costs the processor nothing, and the disk
// an episode's uncompressed size until the episode is finished.
#pragma once

#include <filesystem>
#include <functional>
#include <optional>
#include <string>

#include "../../io/descriptor.hpp"
#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

class RowJournal {
 public:
  /// Opens the file beside `folder`, or makes it, and locks it. Throws Error(invalid_argument) if
  /// another process has it, Error(io_failure).
  RowJournal(const std::filesystem::path& folder, const RecordingOptions& options);

  /// The episode whose rows the file is for, as a killed process or restart() left it; nothing in a
  /// new or damaged file.
  std::optional<int64_t> episode() const;
  const std::filesystem::path& path() const noexcept { return path_; }
  /// Hands out the whole rows that a killed process left, where they are of `episode` or a later
  /// one; those of an earlier one were finished. Returns their count. Throws
  /// Error(invalid_argument) if they are of a recording with other features, and what `take`
  /// throws.
  int64_t recover(int64_t episode, const std::function<void(RecordedRow row)>& take) const;
  /// Forgets all rows; what is added next is of `episode`. Throws Error(io_failure).
  void restart(int64_t episode);
  /// Adds a row that the writer has accepted. Throws Error(io_failure): the file then ends with the
  /// row before.
  void add(const RecordedRow& row);
  /// Closes the file: what it holds is left to the next process.
  void close();
  /// Closes and removes the file.
  void remove();

 private:
  struct Head {
    int64_t episode;
    std::string description;  // of the rows
  };

  std::string description() const;
  int64_t size_of_file() const;
  std::optional<Head> read_head() const;
  void write_record(const std::string& bytes);

  std::filesystem::path path_;
  RecordingOptions options_;
  io::Descriptor file_;
  int64_t size_ = 0;
};

}  // namespace foresight::data
