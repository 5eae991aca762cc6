// SPDX-License-Identifier: Apache-2.0
// Numbers of episodes as words: "0-9,12". Private to the data folder.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace foresight::data {

/// Whether `text` names episodes: numbers and ranges with commas between them, "0-9,12,20-", the
/// last of them to the end; empty: all.
bool selects_episodes(const std::string& text);

/// The episodes that `text` names of `count`, ascending, each once. Throws Error(invalid_option),
/// which names the `option`, for other words, or an episode that is not there.
std::vector<int64_t> selected_episodes(const std::string& text, int64_t count,
                                       const std::string& option);

/// The places in the ascending `numbers` of those that `text` names, ascending, each once; numbers
/// that are missing between them are passed over. Throws as selected_episodes(), for one behind the
/// last.
std::vector<int64_t> selected_among(const std::string& text, const std::vector<int64_t>& numbers,
                                    const std::string& option);

/// Ascending numbers as such a text: "0-2,5"; of more than `shown` ranges, the first.
std::string episode_ranges(const std::vector<int64_t>& episodes, int64_t shown = 20);

}  // namespace foresight::data
