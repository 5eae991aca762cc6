// SPDX-License-Identifier: Apache-2.0
#include "episode_selection.hpp"

#include <algorithm>
#include <charconv>
#include <numeric>
#include <optional>
#include <sstream>

#include "foresight/core/error.hpp"

namespace foresight::data {
namespace {

constexpr const char* kRule = "must be numbers and ranges of episodes, e.g. 0-9,12,20-";

struct Range {
  int64_t first = 0;
  std::optional<int64_t> last;  // none: to the end
};

std::optional<int64_t> parsed_number(const std::string& text) {
  int64_t number = 0;
  const char* end = text.data() + text.size();
  const auto [stop, code] = std::from_chars(text.data(), end, number);
  if (code != std::errc() || stop != end || number < 0) return std::nullopt;
  return number;
}

std::optional<Range> parsed_range(const std::string& text) {
  const auto dash = text.find('-');
  const auto first = parsed_number(text.substr(0, dash));
  if (!first) return std::nullopt;
  if (dash == std::string::npos) return Range{*first, first};
  if (dash + 1 == text.size()) return Range{*first, std::nullopt};
  const auto last = parsed_number(text.substr(dash + 1));
  if (!last || *last < *first) return std::nullopt;
  return Range{*first, last};
}

std::optional<std::vector<Range>> parsed_ranges(const std::string& text) {
  std::vector<Range> ranges;
  if (text.ends_with(',')) return std::nullopt;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto range = parsed_range(part);
    if (!range) return std::nullopt;
    ranges.push_back(*range);
  }
  return ranges;
}

}  // namespace

bool selects_episodes(const std::string& text) { return parsed_ranges(text).has_value(); }

std::vector<int64_t> selected_episodes(const std::string& text, int64_t count,
                                       const std::string& option) {
  std::vector<int64_t> all(static_cast<std::size_t>(count));
  std::iota(all.begin(), all.end(), 0);
  return selected_among(text, all, option);
}

std::vector<int64_t> selected_among(const std::string& text, const std::vector<int64_t>& numbers,
                                    const std::string& option) {
  const std::string given = option + " = '" + text + "' ";
  const auto ranges = parsed_ranges(text);
  require(ranges.has_value(), ErrorCategory::invalid_option, given + kRule);
  const int64_t first = numbers.empty() ? 0 : numbers.front();
  const int64_t last = numbers.empty() ? -1 : numbers.back();
  std::vector<bool> wanted(numbers.size(), text.empty());
  for (const auto& range : *ranges) {
    const int64_t end = range.last.value_or(last);
    require(range.first <= last && end <= last, ErrorCategory::invalid_option,
            given + "names episode " + std::to_string(std::max(range.first, end)) +
                ", which does not exist, accepted: " + std::to_string(first) + ".." +
                std::to_string(last));
    const auto from = std::lower_bound(numbers.begin(), numbers.end(), range.first);
    const auto to = std::upper_bound(from, numbers.end(), end);
    std::fill(wanted.begin() + (from - numbers.begin()), wanted.begin() + (to - numbers.begin()),
              true);
  }
  std::vector<int64_t> places;
  for (std::size_t i = 0; i < wanted.size(); ++i)
    if (wanted[i]) places.push_back(static_cast<int64_t>(i));
  return places;
}

std::string episode_ranges(const std::vector<int64_t>& episodes, int64_t shown) {
  std::string text;
  int64_t ranges = 0;
  for (std::size_t i = 0; i < episodes.size(); ++ranges) {
    std::size_t last = i;
    while (last + 1 < episodes.size() && episodes[last + 1] == episodes[last] + 1) ++last;
    if (ranges == shown) return text + ",...";
    if (ranges > 0) text += ',';
    text += std::to_string(episodes[i]);
    if (last > i) text.append("-").append(std::to_string(episodes[last]));
    i = last + 1;
  }
  return text;
}

}  // namespace foresight::data
