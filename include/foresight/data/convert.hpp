// SPDX-License-Identifier: Apache-2.0
// Recordings from any format that is read to one that is written.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <string>

#include "foresight/core/options.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

enum class TargetFormat {
  lerobot,  ///< LeRobot v3.0, all cameras
  folder,   ///< episode_XXXX.mp4 + episode_XXXX.csv, one camera
};

struct FORESIGHT_API ConvertOptions {
  TargetFormat format = TargetFormat::lerobot;  ///< what is written
  DatasetOptions reading = {};                  ///< how the source is opened
  int64_t crf = 12;  ///< H.264 quality, 0 (best) to 51; frames are encoded once more
  std::string task = "unknown task";  ///< what the robot was to do, where the source does not tell

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("format", self.format, "what is written: lerobot or folder");
    visit("reading", self.reading, "how the source is opened");
    visit("crf", self.crf, "H.264 quality, 0 (best) to 51");
    visit("task", self.task, "what the robot was to do, where the source does not tell");
  }
  std::vector<std::string> validate() const;
};

/// What convert_dataset() wrote.
struct Conversion {
  int64_t episodes = 0;
  int64_t rows = 0;
  std::vector<std::string> cameras;
};

/// Reads `from` episode by episode and writes `to`, which must not exist. The actions and states of
/// the source become "action" and "observation.state" in LeRobot, and keep their names in a folder;
/// other columns keep their names. `progress` is called after each episode. Throws what reading and
/// writing throw; what was written is then removed.
FORESIGHT_API Conversion
convert_dataset(const std::filesystem::path& from, const std::filesystem::path& to,
                const ConvertOptions& options,
                const std::function<void(int64_t done, int64_t all)>& progress = {});

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::TargetFormat> {
  static constexpr std::array<std::pair<std::string_view, data::TargetFormat>, 2> names = {
      {{"lerobot", data::TargetFormat::lerobot}, {"folder", data::TargetFormat::folder}}};
};
