// SPDX-License-Identifier: Apache-2.0
// The meta folder of a LeRobot v3.0 data set while it grows: tasks, episodes, statistics, and
// info.json, which is written last. Private to the data folder.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "foresight/data/episode_writer.hpp"
#include "lerobot_statistics.hpp"

namespace foresight::data {

/// An episode whose rows and frames are on disk.
struct WrittenEpisode {
  int64_t file = 0;          ///< number of its data and video files
  int64_t from = 0, to = 0;  ///< rows of the data set
  std::map<std::string, std::pair<double, double>> clips = {};  ///< camera -> seconds in its file
  std::string task = {};
  std::map<std::string, FeatureStatistics> statistics = {};  ///< by feature
};

/// Of a row, as info.json has it.
std::vector<int64_t> lerobot_shape(const RecordedFeature& feature);

class LeRobotMetaWriter {
 public:
  /// Reads what is there already. Throws Error(invalid_argument) if that is another kind of data.
  LeRobotMetaWriter(std::filesystem::path folder, const RecordingOptions& options);

  int64_t rows() const { return rows_; }            ///< in the episodes that were added
  int64_t episodes() const { return episodes_; }    ///< that were added
  int64_t next_file() const { return next_file_; }  ///< number that no earlier session used
  int64_t files_per_chunk() const { return files_per_chunk_; }
  /// Frames of a camera; 0x0 before it is known.
  ImageSize size(const std::string& camera) const;
  int64_t task_index(const std::string& task);
  /// Of rows [N, columns] of a feature: of each number, or, of a matrix in a data set whose
  /// statistics take all but its last size together, of each place along that.
  FeatureStatistics statistics_of(const std::string& feature, const Tensor& rows) const;

  /// `video` says how the frames of each camera are encoded ("video.codec", ...); empty for
  /// pictures.
  void describe_camera(const std::string& camera, ImageSize size, nlohmann::ordered_json video);
  void add(WrittenEpisode episode);
  /// Writes everything beside its place: what may fail, e.g. on a full disk, fails here and leaves
  /// the data set as it was.
  void stage();
  /// Puts what was staged in its place, first the files of rows and frames `of_rows`; the episodes
  /// added so far are then part of the data set.
  void publish(const std::vector<std::filesystem::path>& of_rows);

 private:
  void continue_data_set();
  void read_places();
  void read_statistics();
  const RecordedFeature* recorded(const std::string& feature) const;  // null: not one of them
  void check_statistics(const RecordedFeature& feature, const nlohmann::json& stats,
                        const std::string& what);
  std::filesystem::path episodes_file() const;
  std::vector<std::filesystem::path> files() const;
  void write_tasks() const;
  void write_episodes() const;
  void write_statistics() const;
  std::vector<int64_t> statistics_shape(const std::string& feature) const;
  nlohmann::ordered_json features() const;
  nlohmann::ordered_json info() const;
  nlohmann::ordered_json with_those_there(nlohmann::ordered_json info) const;

  std::filesystem::path folder_;
  RecordingOptions options_;
  int64_t files_per_chunk_ = 1000;
  int64_t rows_ = 0, episodes_ = 0, next_file_ = 0, next_meta_file_ = 0;
  int64_t first_episode_ = 0;          // of `batch_`
  std::vector<WrittenEpisode> batch_;  // episodes of the open file of meta/episodes
  std::vector<std::string> tasks_;
  std::map<std::string, ImageSize> sizes_;
  std::map<std::string, nlohmann::ordered_json> videos_;
  std::map<std::string, FeatureStatistics> statistics_;
  nlohmann::json info_;                    // info.json of what is gone on with; else null
  std::set<std::string> by_last_size_;     // features of whose statistics statistics_of() tells
  nlohmann::json splits_;                  // of what is gone on with; else null
  std::optional<int64_t> train_from_ = 0;  // where "train" begins, if new episodes belong to it
};

}  // namespace foresight::data
