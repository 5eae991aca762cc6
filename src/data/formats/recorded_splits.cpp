// SPDX-License-Identifier: Apache-2.0
#include "recorded_splits.hpp"

#include <algorithm>
#include <charconv>
#include <iterator>
#include <limits>

#include "../episode_selection.hpp"
#include "foresight/core/log.hpp"

namespace foresight::data {

namespace fs = std::filesystem;

namespace {

constexpr int64_t kBehindAll = std::numeric_limits<int64_t>::max();

struct Named {
  std::vector<int64_t> numbers = {};
  bool more = false;  // it names some behind the last too
};

// Those of `numbers` that `text` names; nothing if it cannot be read.
std::optional<Named> named_among(const std::string& text, const std::vector<int64_t>& numbers,
                                 TargetFormat format) {
  Named named;
  if (format == TargetFormat::lerobot) {
    const auto range = parsed_lerobot_range(text);
    if (!range) return std::nullopt;
    std::copy_if(numbers.begin(), numbers.end(), std::back_inserter(named.numbers),
                 [&](int64_t n) { return n >= range->first && n < range->second; });
    named.more = range->second - 1 > numbers.back();
    return named;
  }
  if (text.empty() || !selects_episodes(text)) return std::nullopt;
  auto more = numbers;
  more.push_back(kBehindAll);  // behind which no text names one
  for (const auto place : selected_among(text, more, "split"))
    if (place < std::ssize(numbers))
      named.numbers.push_back(numbers[static_cast<std::size_t>(place)]);
  try {
    selected_among(text, numbers, "split");
  } catch (const Error&) {
    named.more = true;
  }
  return named;
}

std::string split_text(const std::vector<int64_t>& numbers, TargetFormat format) {
  if (format == TargetFormat::folder || numbers.empty()) return folder_range(numbers);
  return lerobot_range(numbers.front(), numbers.back() + 1);
}

// By name; what is no text is none that can be read.
RecordedSplits texts_of(const nlohmann::json& splits) {
  RecordedSplits texts;
  if (!splits.is_object()) return texts;
  for (const auto& [name, episodes] : splits.items())
    if (episodes.is_string()) texts[name] = episodes.get<std::string>();
  return texts;
}

}  // namespace

RecordedSplits splits_in(const nlohmann::json& settings) {
  RecordedSplits found;
  const auto splits = settings.find("splits");
  if (splits == settings.end() || !splits->is_object()) return found;
  for (const auto& [name, episodes] : splits->items())
    found[name] = episodes.is_string() ? episodes.get<std::string>() : episodes.dump();
  return found;
}

std::string lerobot_range(int64_t first, int64_t end) {
  return std::to_string(first) + ":" + std::to_string(end);
}

std::optional<std::pair<int64_t, int64_t>> parsed_lerobot_range(const std::string& text) {
  int64_t first = 0, end = 0;
  const char* last = text.data() + text.size();
  const auto begin = std::from_chars(text.data(), last, first);
  if (begin.ec != std::errc() || begin.ptr == last || *begin.ptr != ':') return std::nullopt;
  const auto stop = std::from_chars(begin.ptr + 1, last, end);
  if (stop.ec != std::errc() || stop.ptr != last || first < 0 || first >= end) return std::nullopt;
  return std::pair(first, end);
}

std::string folder_range(const std::vector<int64_t>& numbers) {
  return episode_ranges(numbers, kBehindAll);
}

std::vector<int64_t> folder_split(const fs::path& settings, const std::string& name,
                                  const std::string& text, const std::vector<int64_t>& numbers) {
  const std::string what = settings.string() + ": split '" + name + "'";
  require(!text.empty(), ErrorCategory::bad_file, what + " names no episode");
  try {
    return selected_among(text, numbers, what);
  } catch (const Error& error) {
    throw Error(ErrorCategory::bad_file, error.what());
  }
}

KeptSplits kept_splits(const fs::path& settings, const nlohmann::json& told,
                       const std::vector<int64_t>& numbers, TargetFormat format, bool uncounted) {
  KeptSplits kept{.told = told};
  std::vector<int64_t> train;
  bool last_is_another = false;  // one of a split that is not "train"
  for (const auto& [name, text] : texts_of(told)) {
    const auto named = named_among(text, numbers, format);
    if (!named) continue;
    const auto& found = named->numbers;
    if (name == "train")
      train = found;
    else if (!found.empty() && found.back() == numbers.back())
      last_is_another = true;
    if (found.empty() && !named->more) continue;
    kept.told[name] = split_text(found, format);
    if (named->more)
      log(LogLevel::warning, settings.string() + ": split '" + name + "' = '" + text +
                                 "' names episodes behind the last one, " +
                                 std::to_string(numbers.back()) + ": it becomes '" +
                                 split_text(found, format) +
                                 "', as those that are added would fall into it");
  }
  const auto count = numbers.size();
  if (uncounted && !last_is_another && count > 1 && !train.empty() &&
      train.back() == numbers[count - 2]) {
    train.push_back(numbers.back());
    kept.told["train"] = split_text(train, format);
  }
  kept.changed = kept.told != told;
  if (!train.empty() && train.back() == numbers.back()) {
    kept.train = std::move(train);
    return kept;
  }
  std::string known = kept.told.is_object() ? "" : kept.told.dump();
  if (kept.told.is_object())
    for (const auto& [name, text] : kept.told.items())
      known += (known.empty() ? "" : ", ") + name + " = " +
               (text.is_string() ? text.get<std::string>() : text.dump());
  log(LogLevel::warning, settings.string() + ": episodes that are added will be in none of its " +
                             "splits (" + known + "): none is 'train' and ends with the last one");
  return kept;
}

}  // namespace foresight::data
