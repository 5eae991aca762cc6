// SPDX-License-Identifier: Apache-2.0
// The statistics that lie in the meta folder of a LeRobot data set. Private to the data folder.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "foresight/data/stored_statistics.hpp"
#include "lerobot_meta.hpp"

namespace foresight::data {

/// Of these features, from meta/stats.json; where there is none, from those of the episodes of a
/// v2.1 set (meta/episodes_stats.jsonl), put together. Empty where neither file is there. Throws
/// Error(bad_file) naming file, feature and rule: as feature_statistics(), and for a feature of
/// another size.
std::map<std::string, StoredStatistics> read_lerobot_statistics(
    const std::filesystem::path& root, const std::vector<LeRobotFeature>& features);

}  // namespace foresight::data
