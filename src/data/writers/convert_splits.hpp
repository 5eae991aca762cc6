// SPDX-License-Identifier: Apache-2.0
// The parts that a recording tells of itself, in another format. Private to the data folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "foresight/data/episode_writer.hpp"

namespace foresight::data {

/// Episodes of each split, ascending, at least one.
using SplitEpisodes = std::map<std::string, std::vector<int64_t>>;

/// The splits of a recording as far as they are among `chosen`, ascending. Those that cannot be
/// read are named in a warning.
SplitEpisodes chosen_splits(const Dataset& dataset, const std::vector<int64_t>& chosen);

/// The order in which `chosen` are written: as they are, or, where a split could not be one of
/// LeRobot's ranges then, split by split, which is said, and those that are in none at the end. Of
/// splits that share episodes "train" counts, else the largest.
std::vector<int64_t> writing_order(const Dataset& dataset, const std::vector<int64_t>& chosen,
                                   const SplitEpisodes& splits, TargetFormat format);

/// Tells the splits in info.json or dataset.json of a finished target, which holds the episodes
/// `written` of `dataset`. Those that are no range there are named in a warning and left out of
/// LeRobot's; without any, the file stays as it is.
void write_splits(const Dataset& dataset, const std::filesystem::path& target, TargetFormat format,
                  const SplitEpisodes& splits, const std::vector<int64_t>& written);

}  // namespace foresight::data
