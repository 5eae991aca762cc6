// SPDX-License-Identifier: Apache-2.0
// Recordings from any format that is read to one that is written.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

struct FORESIGHT_API ConvertOptions {
  TargetFormat format = TargetFormat::lerobot;  ///< what is written
  DatasetOptions reading = {};                  ///< how the source is opened; with unreadable =
                                                ///< skip, episodes of which a frame or a number is
                                                ///< lost are left out
  std::string episodes = {};  ///< which are written, e.g. "0-9,12,20-": numbers in the order of the
                              ///< source, from 0 on, as inspect() names them; empty: all. Of others
                              ///< anything may be lost
  int64_t crf = 12;  ///< quality of the video, 0 (best) to 51, AV1: to 63; frames are encoded anew
  std::string encoder = "h264";                ///< h264, av1, hevc, or an encoder's name in FFmpeg
  FrameStorage storage = FrameStorage::video;  ///< LeRobot: video, or pictures (PNG, lossless)
  double data_file_mb =
      100;  ///< LeRobot: a data file is closed after the episode that reaches this
  double video_file_mb = 200;         ///< LeRobot: so is a video
  std::string task = "unknown task";  ///< what the robot was to do, where the source does not tell

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("format", self.format, "what is written: lerobot or folder");
    visit("reading", self.reading, "how the source is opened");
    visit(
        "episodes", self.episodes,
        "which are written, e.g. 0-9,12,20-: numbers from 0 on, as `foresight inspect` names them");
    visit("crf", self.crf, "quality of the video, 0 (best) to 51, AV1: to 63");
    visit("encoder", self.encoder, "h264, av1, hevc, or an encoder's name in FFmpeg");
    visit("storage", self.storage, "LeRobot: frames as video, or as pictures (PNG, lossless)");
    visit("data_file_mb", self.data_file_mb, "LeRobot: size at which a data file is closed");
    visit("video_file_mb", self.video_file_mb, "LeRobot: size at which a video is closed");
    visit("task", self.task, "what the robot was to do, where the source does not tell");
  }
  std::vector<std::string> validate() const;
};

/// An episode that was not written, as reading.unreadable = skip allows.
struct LeftOutEpisode {
  int64_t episode = 0;  ///< in the source
  std::string name, reason;
};

/// What convert_dataset() wrote.
struct Conversion {
  int64_t episodes = 0;
  int64_t rows = 0;
  std::vector<std::string> cameras;
  std::vector<LeftOutEpisode> left_out = {};
  int64_t irregular_steps = 0;  ///< LeRobot: steps in time, of what was written, that are not 1/fps
                                ///< in the source and are now
  int64_t rows_without_action = 0;  ///< of what was written: a number of the action is NaN; without
                                    ///< the last one of an episode, where a folder tells of it
  std::vector<int64_t> written = {};  ///< numbers in the source of the episodes 0, 1, ... here
};

/// Reads `from` episode by episode and writes `to`, which must not exist: all cameras unless
/// DatasetOptions.camera chooses one, all numbers in their types, all words. The actions and states
/// of the source become "action" and "observation.state" in LeRobot, and keep their names in a
/// folder; other columns keep their names, and the recording its notes. The column "timestamp"
/// stays as it is in a folder; LeRobot's rows are 1/fps apart, whose fps is a whole number: a rate
/// within 0.1 % of one becomes it, another is Error(invalid_option). Splits (Dataset::splits()) are
/// kept: LeRobot's are ranges, so its episodes are written split by split where they would be none,
/// and of splits that share episodes those that are ranges. `progress` is called after each
/// episode. Throws what reading and writing throw; what was written is then removed.
FORESIGHT_API Conversion
convert_dataset(const std::filesystem::path& from, const std::filesystem::path& to,
                const ConvertOptions& options,
                const std::function<void(int64_t done, int64_t all)>& progress = {});

}  // namespace foresight::data
