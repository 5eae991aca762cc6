// SPDX-License-Identifier: Apache-2.0
// The parts of a recording (Dataset::splits()) as its files word them: LeRobot's info.json by
// ranges, {"train": "0:15"}, the end exclusive; dataset.json of a folder by the numbers of its
// files, {"train": "0-14,17"}. Private to the data folder.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

namespace foresight::data {

/// By name, as worded.
using RecordedSplits = std::map<std::string, std::string>;

/// Those of info.json or dataset.json: whatever is no text as JSON.
RecordedSplits splits_in(const nlohmann::json& settings);

/// LeRobot's text for the episodes first..end-1.
std::string lerobot_range(int64_t first, int64_t end);

/// A folder's text for these, ascending.
std::string folder_range(const std::vector<int64_t>& numbers);

/// The episodes of a folder that `text` names, as places among the ascending `numbers` of its
/// files. Throws Error(bad_file) naming the file of `settings` for another text, or one that names
/// an episode behind the last.
std::vector<int64_t> folder_split(const std::filesystem::path& settings, const std::string& name,
                                  const std::string& text, const std::vector<int64_t>& numbers);

/// Episodes of "train" in a recording of `episodes` ones that is gone on with, as `read` reads its
/// text: new ones belong to it where it ends with the last of them. Else empty, with a warning that
/// names the file of `settings`.
std::vector<int64_t> growing_train(
    const std::filesystem::path& settings, const RecordedSplits& splits, int64_t episodes,
    const std::function<std::vector<int64_t>(const std::string& text)>& read);

}  // namespace foresight::data
