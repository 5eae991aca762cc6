// SPDX-License-Identifier: Apache-2.0
// Writes recorded episodes in the layout that FolderDataset reads (data/folder_dataset.hpp).
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

class RecordingLock;
struct KeptSplits;

/// What a folder of episodes holds.
struct FolderWriterOptions {
  VideoWriterOptions video = {};                  ///< encoding; its fps is the data set's
  std::vector<std::string> actions = {};          ///< names of the action columns, at least one
  std::vector<std::string> states = {};           ///< names of the state columns
  std::vector<std::string> others = {};           ///< names of further columns, e.g. "reward";
                                                  ///< "timestamp", seconds, takes the place of row
                                                  ///< / fps
  LastAction last_action = LastAction::artefact;  ///< what the action in an episode's last row is
  std::map<std::string, std::string> notes =
      {};  ///< further keys of dataset.json, e.g. {"environment": ...}; none of its own

  std::vector<std::string> validate() const;
};

/// Appends episodes to a folder, which is created if need be. An episode appears in the folder when
/// it is finished, its table last: if the program stops in the middle, nothing of it is left.
/// Columns `frame` and, where it is not recorded, `timestamp` (row / fps) are added by themselves.
/// Tables are .csv, or .jsonl where words are recorded. The folder is locked until finish().
class FORESIGHT_API FolderWriter final : public EpisodeWriter {
 public:
  /// One camera, whose videos are called episode_XXXX.mp4. Numbering goes on after the highest
  /// episode in the folder. Throws Error(invalid_argument) if the folder holds a data set with
  /// other columns or another rate, or another writer is at work there, Error(unsupported) without
  /// the encoder, Error(io_failure).
  FolderWriter(std::filesystem::path folder, FolderWriterOptions options);
  /// Any number of cameras; with several, videos are called episode_XXXX.<camera>.mp4. Feature
  /// "action" are the actions, "observation.state" the states. Tasks are recorded as the column of
  /// words "task" where RecordingOptions.texts has it. Types of numbers are kept, and others are
  /// refused as other columns are; a folder that does not tell them, as of FolderWriterOptions or
  /// an earlier version, goes on without.
  FolderWriter(std::filesystem::path folder, const RecordingOptions& options);
  ~FolderWriter() override;

  /// Order of the values of a row: actions, states, others.
  const std::vector<std::string>& columns() const noexcept { return columns_; }

  void append(const RecordedRow& row) override;
  int64_t finish_episode(const std::string& task = {}) override;
  void discard_episode() override;
  int64_t next_episode() const noexcept override { return number_; }
  int64_t rows() const noexcept override { return rows_; }
  void finish() override;

  /// One row of the only camera: the frame uint8 [H,W,3] and its values [columns], float. States
  /// may not be NaN, the others may. Throws Error(invalid_argument) too for another type of numbers
  /// than dataset.json tells.
  void append(const Tensor& frame, const Tensor& values);
  using EpisodeWriter::write_episode;
  /// A whole episode of the only camera: frames uint8 [T,H,W,3], values [T,columns]. Returns its
  /// number.
  int64_t write_episode(const Tensor& frames, const Tensor& values);

 private:
  void start();
  void continue_folder();
  void remove_unfinished_episode(int64_t number) const;
  void write_settings(int64_t episodes, const nlohmann::json& splits) const;
  std::string table_text(const std::string& task) const;
  std::filesystem::path file(const std::string& ending) const;
  std::filesystem::path video_file(const std::string& camera) const;

  std::filesystem::path folder_;
  std::unique_ptr<RecordingLock> lock_;  // null when finished; outlives what is written
  FolderWriterOptions options_;
  RecordingOptions recording_;
  std::vector<std::string> columns_;
  // Of columns that are not float32, for dataset.json; nothing where it tells no types.
  std::optional<std::map<std::string, std::string>> types_;
  std::map<std::string, std::string> names_;  // of columns, for dataset.json
  int64_t number_ = 0;                        // of the next episode
  int64_t episodes_ = 0;                    // in the folder
  std::unique_ptr<KeptSplits> splits_;      // of dataset.json
  std::map<std::string, ImageSize> sizes_;  // by camera, known after the first frame
  std::map<std::string, std::unique_ptr<VideoWriter>> videos_;
  std::vector<std::vector<std::string>> cells_;  // of every row: numbers as text
  std::vector<std::map<std::string, std::string>> texts_;
  int64_t rows_ = 0;
  bool spoiled_ = false;  // a row was written to some cameras only
};

}  // namespace foresight::data
