// SPDX-License-Identifier: Apache-2.0
// Writes recorded episodes in the layout that FolderDataset reads (data/folder_dataset.hpp).
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/data/dataset.hpp"
#include "foresight/data/video_writer.hpp"

namespace foresight::data {

/// What a folder of episodes holds.
struct FolderWriterOptions {
  VideoWriterOptions video = {};                  ///< encoding; its fps is the data set's
  std::vector<std::string> actions = {};          ///< names of the action columns, at least one
  std::vector<std::string> states = {};           ///< names of the state columns
  std::vector<std::string> others = {};           ///< names of further columns, e.g. "reward"
  LastAction last_action = LastAction::artefact;  ///< what the action in an episode's last row is
  std::map<std::string, std::string> notes =
      {};  ///< further keys of dataset.json, e.g. {"environment": ...}

  std::vector<std::string> validate() const;
};

/// Appends episodes to a folder, which is created if need be. An episode appears in the folder when
/// it is finished: if the program stops in the middle, nothing of it is left. Columns `frame` and
/// `timestamp` are added by themselves.
class FORESIGHT_API FolderWriter {
 public:
  /// Numbering goes on after the highest episode in the folder. Throws Error(invalid_argument) if
  /// the folder holds a data set with other columns or another rate, Error(unsupported) without an
  /// H.264 encoder, Error(io_failure).
  FolderWriter(std::filesystem::path folder, FolderWriterOptions options);
  ~FolderWriter();

  /// Order of the values of a row: actions, states, others.
  const std::vector<std::string>& columns() const noexcept { return columns_; }

  /// One row: the frame uint8 [H,W,3] and its values [columns], float. States may not be NaN, the
  /// others may.
  void append(const Tensor& frame, const Tensor& values);
  /// A whole episode: frames uint8 [T,H,W,3], values [T,columns]. Returns its number.
  int64_t write_episode(const Tensor& frames, const Tensor& values);
  /// Writes the rows since the last episode to disk under the next number, which is returned.
  int64_t finish_episode();
  /// Forgets the rows since the last episode.
  void discard_episode();
  /// Rows of the unfinished episode.
  int64_t rows() const noexcept { return rows_; }

 private:
  void continue_folder();
  void write_settings() const;
  std::filesystem::path file(const char* extension) const;

  std::filesystem::path folder_;
  FolderWriterOptions options_;
  std::vector<std::string> columns_;
  int64_t number_ = 0;    // of the next episode
  int64_t episodes_ = 0;  // in the folder
  ImageSize size_;        // of all frames; 0 before the first
  std::unique_ptr<VideoWriter> video_;
  std::string table_;
  int64_t rows_ = 0;
};

}  // namespace foresight::data
