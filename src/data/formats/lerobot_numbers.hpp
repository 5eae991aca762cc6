// SPDX-License-Identifier: Apache-2.0
// Statistics by the names that LeRobot gives them, and their numbers as JSON without losing a digit
// of 64-bit integers. Private to the data folder.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "../writers/lerobot_statistics.hpp"

namespace foresight::data {

struct NamedStatistic {
  const char* name;
  Tensor values;  // [width]; [1] of the count
};

/// In how many rows each number is known; LeRobot's own count, one number, is that of the rows.
inline constexpr const char* kKnownCount = "known_count";

/// All that are known, but for FeatureStatistics::known; the smallest and largest value in type
/// `limits`.
std::vector<NamedStatistic> named_statistics(const FeatureStatistics& all, at::ScalarType limits);

/// A feature as stats.json has it, each statistic but the count in `shape`, with kKnownCount where
/// some row does not know some number. One that no row knows has 0 for NaN, which JSON has not.
nlohmann::ordered_json statistics_json(const FeatureStatistics& all, at::ScalarType limits,
                                       const std::vector<int64_t>& shape);

/// The sizes of nested lists, from the outermost to the innermost, told by the first of each.
std::vector<int64_t> nested_shape(const nlohmann::json& lists);

/// The statistics of a feature as stats.json has them, flat; min and max int64 where they are whole
/// numbers; quantiles as far as they are there, count 0 where it is not. Throws Error(bad_file)
/// that begins with `what` where min, max, mean or std is missing, where one is of another size
/// than the mean or not finite, where min > max or std < 0, for a count of no rows and for more
/// known ones than that.
FeatureStatistics feature_statistics(const nlohmann::json& stats, const std::string& what);

}  // namespace foresight::data
