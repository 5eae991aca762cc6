// SPDX-License-Identifier: Apache-2.0
// Writes episodes as a LeRobot v3.0 data set, for training and sharing with that project's tools.
// Needs a build with Apache Parquet.
#pragma once

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// Appends episodes to a data set. Files are written beside their names and renamed, meta/info.json
/// last: whoever reads meanwhile, or after a crash, finds the episodes that were there before.
/// Statistics are those of each episode's rows (frames: of a grid of at most 150 pixels a side) and
/// their aggregate as LeRobot makes it, in which quantiles are averages of the episodes'.
class FORESIGHT_API LeRobotWriter final : public EpisodeWriter {
 public:
  /// `folder` is new, empty, or a LeRobot v3.0 data set with the same features and rate, which is
  /// continued; it is locked until finish(). Throws as open_episode_writer().
  LeRobotWriter(const std::filesystem::path& folder, const RecordingOptions& options);
  /// Episodes in the open file are lost unless finish() was called before. Of a data set without
  /// an episode nothing is left, nor is its folder where nobody else has put a file there.
  ~LeRobotWriter() override;

  void append(const RecordedRow& row) override;
  int64_t finish_episode(const std::string& task = {}) override;
  void discard_episode() override;
  int64_t next_episode() const noexcept override;
  int64_t rows() const noexcept override;
  void finish() override;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foresight::data
