// SPDX-License-Identifier: Apache-2.0
// The meta folder of a LeRobot data set, of versions 2.x and 3.0 alike: which episodes there are
// and where their rows and frames lie. Private to the data folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "columnar_dataset.hpp"
#include "recorded_notes.hpp"

namespace foresight::data {

/// Where an episode's frames of one camera are.
struct LeRobotVideo {
  std::filesystem::path file;
  double start = 0;  ///< presentation time of its first frame, seconds
};

struct LeRobotEpisode {
  int64_t length = 0;
  std::filesystem::path data = {};                  ///< Parquet file with its rows
  std::map<std::string, LeRobotVideo> videos = {};  ///< by feature
};

/// A feature of info.json.
struct LeRobotFeature {
  std::string name, dtype;
  int64_t width = 1;                ///< numbers a row
  std::vector<int64_t> shape = {};  ///< of a row
  bool depth = false;
  std::vector<std::string> names = {};  ///< of its numbers; empty where they are not told
};

struct LeRobotMeta {
  std::string version;
  double fps = 0;
  std::vector<LeRobotFeature> features;
  std::vector<LeRobotEpisode> episodes;            ///< number e is episode_index e
  std::map<int64_t, std::string> tasks;            ///< by task_index
  std::string robot_type = kUnknownRobot;
  std::map<std::string, std::string> notes = {};   ///< of the recorder, if it was foresight's
  std::map<std::string, std::string> splits = {};  ///< "first:end" of each, as info.json says it
  std::vector<std::string> remarks = {};           ///< as Dataset::remarks()
};

/// Throws Error(not_found | bad_file) naming file and rule; Error(unsupported) for another version.
LeRobotMeta read_lerobot_meta(const std::filesystem::path& root);

/// The files of meta/episodes (v3.0), sorted.
std::vector<std::filesystem::path> lerobot_episode_files(const std::filesystem::path& root);

/// The episodes of "first:end", one of LeRobotMeta::splits, of `count` that there are. Throws
/// Error(bad_file) naming `root` for another text or episodes that there are not.
std::vector<int64_t> lerobot_split(const std::filesystem::path& root, const std::string& name,
                                   const std::string& range, int64_t count);

/// A path template of info.json, e.g. "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
/// with its fields filled in. Throws Error(bad_file) for an unknown field or a result outside the
/// data set.
std::filesystem::path fill_lerobot_path(const std::filesystem::path& root,
                                        const std::string& path_template,
                                        const std::map<std::string, int64_t>& numbers,
                                        const std::string& video_key = {});

}  // namespace foresight::data
