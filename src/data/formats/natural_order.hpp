// SPDX-License-Identifier: Apache-2.0
// Names in the order in which they were numbered: frame_2 comes before frame_10, whether the
// recorder padded its numbers or not. Private to the data folder.
#pragma once

#include <algorithm>
#include <compare>
#include <filesystem>
#include <string_view>
#include <utility>

namespace foresight::data {

/// Digits count as the numbers that they write, of any length; what that leaves equal (01 and 1) is
/// ordered as text.
inline bool numbered_before(std::string_view a, std::string_view b) {
  const auto is_digit = [](char c) { return c >= '0' && c <= '9'; };
  // The digits from `place` on without leading zeros; `place` moves behind them.
  const auto number_at = [&](std::string_view text, std::size_t& place) {
    while (place < text.size() && text[place] == '0') ++place;
    const std::size_t first = place;
    while (place < text.size() && is_digit(text[place])) ++place;
    return text.substr(first, place - first);
  };
  std::size_t i = 0, j = 0;
  while (i < a.size() && j < b.size()) {
    if (is_digit(a[i]) && is_digit(b[j])) {
      const auto left = number_at(a, i), right = number_at(b, j);
      if (left != right) return std::pair(left.size(), left) < std::pair(right.size(), right);
    } else if (a[i] != b[j]) {
      return static_cast<unsigned char>(a[i]) < static_cast<unsigned char>(b[j]);
    } else {
      ++i;
      ++j;
    }
  }
  const bool a_ends = i == a.size(), b_ends = j == b.size();
  return a_ends != b_ends ? a_ends : a < b;
}

/// Folder by folder.
inline bool path_before(const std::filesystem::path& a, const std::filesystem::path& b) {
  return std::lexicographical_compare(a.begin(), a.end(), b.begin(), b.end(),
                                      [](const auto& one, const auto& other) {
                                        return numbered_before(one.native(), other.native());
                                      });
}

}  // namespace foresight::data
