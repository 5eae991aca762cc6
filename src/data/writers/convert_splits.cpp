// SPDX-License-Identifier: Apache-2.0
#include "convert_splits.hpp"

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>

#include "../formats/columnar_dataset.hpp"
#include "../formats/recorded_splits.hpp"
#include "convert_episode.hpp"
#include "foresight/core/log.hpp"
#include "foresight/io/json_file.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using Episodes = std::vector<int64_t>;

// Where the `wanted` ones stand in `order`, ascending.
Episodes places_of(const Episodes& wanted, const Episodes& order) {
  const std::set<int64_t> all(wanted.begin(), wanted.end());
  Episodes places;
  for (std::size_t i = 0; i < order.size(); ++i)
    if (all.contains(order[i])) places.push_back(static_cast<int64_t>(i));
  return places;
}

// One behind the other; ascending, at least one.
bool is_range(const Episodes& places) {
  return places.back() - places.front() + 1 == std::ssize(places);
}

// Splits that share no episode: "train", then as many others as go with it, the largest first.
std::vector<std::string> disjoint(const SplitEpisodes& splits) {
  std::vector<std::string> names, kept;
  for (const auto& [name, episodes] : splits) names.push_back(name);
  std::sort(names.begin(), names.end(), [&](const auto& a, const auto& b) {
    const auto rank = [&](const std::string& name) {
      return std::tuple(name != "train", -std::ssize(splits.at(name)), name);
    };
    return rank(a) < rank(b);
  });
  std::set<int64_t> taken;
  for (const auto& name : names) {
    const auto& episodes = splits.at(name);
    if (std::any_of(episodes.begin(), episodes.end(), [&](auto e) { return taken.contains(e); }))
      continue;
    taken.insert(episodes.begin(), episodes.end());
    kept.push_back(name);
  }
  return kept;
}

}  // namespace

SplitEpisodes chosen_splits(const Dataset& dataset, const Episodes& chosen) {
  SplitEpisodes splits;
  for (const auto& name : dataset.splits()) {
    Episodes all, written;
    try {
      all = dataset.episodes_of_split(name);
    } catch (const Error& error) {
      if (!is_unreadable(error)) throw;
      log(LogLevel::warning,
          std::string("split '") + name + "' cannot be read and is not written: " + error.what());
      continue;
    }
    std::set_intersection(all.begin(), all.end(), chosen.begin(), chosen.end(),
                          std::back_inserter(written));
    if (!written.empty()) splits[name] = std::move(written);
  }
  return splits;
}

Episodes writing_order(const Dataset& dataset, const Episodes& chosen, const SplitEpisodes& splits,
                       TargetFormat format) {
  const auto names = disjoint(splits);
  const bool ranges = std::all_of(names.begin(), names.end(), [&](const auto& name) {
    return is_range(places_of(splits.at(name), chosen));
  });
  if (format != TargetFormat::lerobot || ranges) return chosen;
  Episodes order;
  for (const auto& name : names)
    order.insert(order.end(), splits.at(name).begin(), splits.at(name).end());
  const std::set<int64_t> placed(order.begin(), order.end());
  std::copy_if(chosen.begin(), chosen.end(), std::back_inserter(order),
               [&](int64_t episode) { return !placed.contains(episode); });
  log(LogLevel::warning,
      dataset.name() + ": LeRobot's splits are ranges, so episodes are written split by split (" +
          listed_names(names) + "), not in their order, which ConvertOptions.format = folder " +
          "(--format folder) keeps");
  return order;
}

void write_splits(const Dataset& dataset, const fs::path& target, TargetFormat format,
                  const SplitEpisodes& splits, const Episodes& written) {
  const bool lerobot = format == TargetFormat::lerobot;
  nlohmann::ordered_json told;
  std::vector<std::string> others;
  for (const auto& [name, episodes] : splits) {
    const auto places = places_of(episodes, written);
    if (places.empty()) continue;
    if (!lerobot)
      told[as_utf8(name)] = folder_range(places);
    else if (is_range(places))
      told[as_utf8(name)] = lerobot_range(places.front(), places.back() + 1);
    else
      others.push_back(name);
  }
  if (!others.empty())
    log(LogLevel::warning,
        dataset.name() + ": LeRobot's splits are ranges of episodes; these, which share episodes " +
            "with others, would be none and are not written: " + listed_names(others));
  if (told.empty()) return;
  const auto file = lerobot ? target / "meta" / "info.json" : target / "dataset.json";
  auto settings = nlohmann::ordered_json::parse(io::read_text(file));
  settings["splits"] = std::move(told);
  io::write_json(file, settings);
}

}  // namespace foresight::data
