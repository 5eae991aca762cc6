// SPDX-License-Identifier: Apache-2.0
// Tables have no vectors: one is told by the names of its columns. Private to the data folder.
#pragma once

#include <algorithm>
#include <map>
#include <string>
#include <vector>

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

/// Columns that differ by a number at the end, goal_0 and goal_1, as one group, goal, in the order
/// of the numbers; the others by themselves. `shapes` has those of groups that are no vectors.
inline std::vector<ColumnGroup> groups_by_stem(
    const std::vector<std::string>& columns,
    const std::map<std::string, std::vector<int64_t>>& shapes) {
  std::map<std::string, std::vector<std::string>> found;
  for (const auto& column : columns) found[column_stem(column)].push_back(column);
  std::vector<ColumnGroup> groups;
  for (auto& [stem, parts] : found) {
    // By number: goal_10 comes after goal_9.
    std::sort(parts.begin(), parts.end(), [](const auto& a, const auto& b) {
      return std::pair(a.size(), a) < std::pair(b.size(), b);
    });
    // A lone goal_0, or goal beside goal_0, is no vector.
    const bool vector = parts.size() > 1 && parts.front() != stem;
    if (!vector) {
      for (const auto& column : parts) groups.push_back({column, {column}, {1}});
      continue;
    }
    std::vector<int64_t> shape = {static_cast<int64_t>(parts.size())};
    if (const auto known = shapes.find(stem); known != shapes.end()) {
      int64_t size = 1;
      for (const int64_t one : known->second) size *= one;
      if (size == shape.front()) shape = known->second;
    }
    groups.push_back({stem, parts, shape});
  }
  return groups;
}

}  // namespace foresight::data
