// SPDX-License-Identifier: Apache-2.0
#include "recorded_splits.hpp"

#include <limits>
#include <nlohmann/json.hpp>

#include "episode_selection.hpp"
#include "foresight/core/log.hpp"
#include "foresight/data/unreadable.hpp"

namespace foresight::data {

namespace fs = std::filesystem;

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

std::string folder_range(const std::vector<int64_t>& numbers) {
  return episode_ranges(numbers, std::numeric_limits<int64_t>::max());
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

std::vector<int64_t> growing_train(
    const fs::path& settings, const RecordedSplits& splits, int64_t episodes,
    const std::function<std::vector<int64_t>(const std::string& text)>& read) {
  if (const auto train = splits.find("train"); train != splits.end()) {
    std::vector<int64_t> found;
    try {
      found = read(train->second);
    } catch (const Error& error) {
      if (!is_unreadable(error)) throw;
    }
    if (!found.empty() && found.back() == episodes - 1) return found;
  }
  std::string known;
  for (const auto& [name, text] : splits)
    known += (known.empty() ? "" : ", ") + name + " = " + text;
  log(LogLevel::warning, settings.string() + ": episodes that are added will be in none of its " +
                             "splits (" + known + "): none is 'train' and ends with the last one");
  return {};
}

}  // namespace foresight::data
