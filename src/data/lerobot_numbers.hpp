// SPDX-License-Identifier: Apache-2.0
// Statistics by the names that LeRobot gives them, and their numbers as JSON without losing a digit
// of 64-bit integers. Private to the data folder.
#pragma once

#include <nlohmann/json.hpp>
#include <vector>

#include "lerobot_statistics.hpp"

namespace foresight::data {

struct NamedStatistic {
  const char* name;
  Tensor values;  // [width]; [1] of the count
};

/// All that are known; the smallest and largest value in type `limits`.
std::vector<NamedStatistic> named_statistics(const FeatureStatistics& all, at::ScalarType limits);

/// A tensor as nested lists.
nlohmann::ordered_json nested_json(const Tensor& values);

/// A statistic in stats.json, flat: int64 of whole numbers, else float64; undefined if it is not
/// there.
Tensor stored_statistic(const nlohmann::json& stats, const char* name);

}  // namespace foresight::data
