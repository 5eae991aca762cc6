// SPDX-License-Identifier: Apache-2.0
// Task positions: a few named non-negative integers, and names, as JSON text.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace foresight::train {

/// Names, and what is said of each.
using Names = std::map<std::string, std::string>;

/// As JSON text; what is no UTF-8, as a file's name may be, is replaced.
std::string write_names(const Names& names);
/// Throws Error(bad_file) unless write_names() wrote `text`.
Names read_names(const std::string& text);

/// `unreadable`: episodes that were skipped, where there are any.
std::string write_position(const std::vector<std::pair<const char*, int64_t>>& values,
                           const Names& unreadable = {});

/// A number of a position.
struct PositionField {
  PositionField(const char* given_name, std::optional<int64_t> given_absent = std::nullopt)
      : name(given_name), absent(given_absent) {}
  const char* name;
  /// What it was in versions that did not write it, where that is known; else it must be there.
  std::optional<int64_t> absent;
};

/// The values of `fields`. Throws Error(bad_file) that names what is wrong unless `text` has these
/// and no others, all integers >= 0. `unreadable`: null where no episode is skipped.
std::vector<int64_t> read_position(const std::string& text,
                                   const std::vector<PositionField>& fields,
                                   Names* unreadable = nullptr);

}  // namespace foresight::train
