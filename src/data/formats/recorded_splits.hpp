// SPDX-License-Identifier: Apache-2.0
// The parts of a recording (Dataset::splits()) as its files word them: LeRobot's info.json by
// ranges, {"train": "0:15"}, the end exclusive; dataset.json of a folder by the numbers of its
// files, {"train": "0-14,17"}. Private to the data folder.
#pragma once

#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// By name, as worded.
using RecordedSplits = std::map<std::string, std::string>;

/// Those of info.json or dataset.json: whatever is no text as JSON.
RecordedSplits splits_in(const nlohmann::json& settings);

/// LeRobot's text for the episodes first..end-1.
std::string lerobot_range(int64_t first, int64_t end);

/// first < end of such a text; nothing of another one.
std::optional<std::pair<int64_t, int64_t>> parsed_lerobot_range(const std::string& text);

/// A folder's text for these, ascending.
std::string folder_range(const std::vector<int64_t>& numbers);

/// The episodes of a folder that `text` names, as places among the ascending `numbers` of its
/// files. Throws Error(bad_file) naming the file of `settings` for another text, or one that names
/// an episode behind the last.
std::vector<int64_t> folder_split(const std::filesystem::path& settings, const std::string& name,
                                  const std::string& text, const std::vector<int64_t>& numbers);

/// The splits of a recording that is gone on with.
struct KeptSplits {
  nlohmann::json told;              ///< as the file is to say from now on; null: nothing
  std::vector<int64_t> train = {};  ///< numbers of "train", if new episodes belong to it
  bool changed = false;             ///< `told` is not what the file says
};

/// Of `told` in the file `settings` of a recording whose episodes have the ascending `numbers`, at
/// least one. A split that can be read names from now on those that it names of these, else a new
/// episode would fall into "15-", or into a number whose episode was removed; where it named some
/// behind the last, a warning says so. Everything else stays as it is. New episodes belong to
/// "train" where that ends with the last one; else a warning says that they belong to none.
/// `uncounted`: the last one may be a new one that a killed writer did not add to its split.
KeptSplits kept_splits(const std::filesystem::path& settings, const nlohmann::json& told,
                       const std::vector<int64_t>& numbers, TargetFormat format, bool uncounted);

}  // namespace foresight::data
