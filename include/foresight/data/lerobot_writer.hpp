// SPDX-License-Identifier: Apache-2.0
// Writes recorded episodes as a LeRobot v3.0 data set, for training and sharing with that project's
// tools. Needs a build with Apache Parquet.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/data/dataset.hpp"
#include "foresight/data/video_writer.hpp"

namespace foresight::data {

/// A feature: a vector of the named columns.
struct LeRobotColumns {
  std::string feature;               ///< e.g. "action", "observation.state"
  std::vector<std::string> columns;  ///< at least one
};

struct LeRobotWriterOptions {
  VideoWriterOptions video = {.crf = 18, .key_interval = 2};  ///< encoding; its fps, a whole
                                                              ///< number, is the data set's
  std::vector<std::string> cameras = {};      ///< features with frames
  std::vector<LeRobotColumns> features = {};  ///< features with numbers
  std::string robot_type = "unknown";
  int64_t frames_per_file = 50'000;  ///< a file is closed after the episode that reaches this

  std::vector<std::string> validate() const;
};

/// Writes a new data set. Until finish() there is no meta/info.json, so that no reader takes it for
/// one; a writer that is destroyed before removes what it wrote.
class FORESIGHT_API LeRobotWriter {
 public:
  /// Throws Error(invalid_argument) if `folder` exists and is not empty, Error(unsupported) without
  /// Parquet or an H.264 encoder, Error(io_failure).
  LeRobotWriter(std::filesystem::path folder, LeRobotWriterOptions options);
  ~LeRobotWriter();

  /// One episode: frames uint8 [T,H,W,3] of every camera; values [T,C], the columns of all features
  /// in their order (stored as float32; NaN is kept); what the robot was to do.
  void write_episode(const std::map<std::string, Tensor>& frames, const Tensor& values,
                     const std::string& task);
  /// Closes all files and writes meta/. Throws Error(invalid_argument) without an episode.
  void finish();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foresight::data
