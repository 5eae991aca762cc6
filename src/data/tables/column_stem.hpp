// SPDX-License-Identifier: Apache-2.0
// Tables have no vectors: one is told by the names of its columns. Private to the data folder.
#pragma once

#include <algorithm>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "../formats/natural_order.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// "goal" of "goal_0"; the whole name where no number ends it.
inline std::string column_stem(const std::string& column) {
  const auto underscore = column.rfind('_');
  if (underscore == std::string::npos || underscore == 0 || underscore + 1 == column.size() ||
      column.find_first_not_of("0123456789", underscore + 1) != std::string::npos)
    return column;
  return column.substr(0, underscore);
}

/// How many numbers a row of `shape` has; nothing unless that is 1 to 5 sizes of 1..100000,
/// together 1e9 numbers at most.
inline std::optional<int64_t> numbers_in_shape(const std::vector<int64_t>& shape) {
  constexpr int64_t kMostSize = 100'000, kMostNumbers = 1'000'000'000;
  if (shape.empty() || shape.size() > 5) return std::nullopt;
  int64_t count = 1;
  for (const int64_t size : shape) {
    if (size < 1 || size > kMostSize) return std::nullopt;
    count *= size;
    if (count > kMostNumbers) return std::nullopt;
  }
  return count;
}

/// Columns that differ by a number at the end, goal_0 and goal_1, as one group, goal, in the order
/// of the numbers; the others by themselves. `shapes` has those of groups that are no vectors.
inline std::vector<ColumnGroup> groups_by_stem(
    const std::vector<std::string>& columns,
    const std::map<std::string, std::vector<int64_t>>& shapes) {
  std::map<std::string, std::vector<std::string>> found;
  for (const auto& column : columns) found[column_stem(column)].push_back(column);
  std::vector<ColumnGroup> groups;
  for (auto& [stem, parts] : found) {
    std::sort(parts.begin(), parts.end(), numbered_before);
    // A lone goal_0, or goal beside goal_0, is no vector.
    const bool vector = parts.size() > 1 && parts.front() != stem;
    if (!vector) {
      for (const auto& column : parts) groups.push_back({column, {column}, {1}});
      continue;
    }
    std::vector<int64_t> shape = {static_cast<int64_t>(parts.size())};
    const auto known = shapes.find(stem);
    if (known != shapes.end() && numbers_in_shape(known->second) == shape.front())
      shape = known->second;
    groups.push_back({stem, parts, shape});
  }
  return groups;
}

}  // namespace foresight::data
