// SPDX-License-Identifier: Apache-2.0
#include "lerobot_stored_statistics.hpp"

#include <set>

#include "../tables/json_lines.hpp"
#include "foresight/core/error.hpp"
#include "lerobot_numbers.hpp"

namespace foresight::data {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

bool is_camera(const LeRobotFeature& feature) {
  return feature.dtype == "video" || feature.dtype == "image";
}

// Of a matrix LeRobot 0.4 takes all but the last size together.
bool fits(const LeRobotFeature& feature, int64_t numbers) {
  if (is_camera(feature)) return numbers <= 4;  // channels
  return numbers == feature.width || (feature.shape.size() > 1 && numbers == feature.shape.back());
}

// What one object {feature: {min, max, ...}} tells of the features.
std::map<std::string, FeatureStatistics> checked(const Json& all, const std::string& where,
                                                 const std::vector<LeRobotFeature>& features) {
  require(all.is_object(), ErrorCategory::bad_file, where + ": holds no statistics of features");
  std::map<std::string, FeatureStatistics> found;
  for (const auto& feature : features) {
    const auto stats = all.find(feature.name);
    if (stats == all.end()) continue;
    const std::string what = where + ": '" + feature.name + "'";
    auto one = feature_statistics(*stats, what);
    require(fits(feature, one.mean.numel()), ErrorCategory::bad_file,
            what + " has " + std::to_string(one.mean.numel()) + " numbers, meta/info.json says " +
                (is_camera(feature) ? "a camera" : std::to_string(feature.width)));
    found.emplace(feature.name, std::move(one));
  }
  return found;
}

std::map<std::string, FeatureStatistics> of_episodes(const fs::path& file,
                                                     const std::vector<LeRobotFeature>& features) {
  std::map<std::string, FeatureStatistics> all;
  std::set<int64_t> seen;
  visit_json_lines(file, [&](const Json& line, const std::string& where) {
    const bool told = line.is_object() && line.contains("stats") &&
                      line.contains("episode_index") && line["episode_index"].is_number_integer();
    require(told, ErrorCategory::bad_file, where + ": lacks one of episode_index, stats");
    const auto episode = line["episode_index"].get<int64_t>();
    require(seen.insert(episode).second, ErrorCategory::bad_file,
            where + ": episode_index " + std::to_string(episode) + " is there twice");
    for (auto& [feature, found] : checked(line["stats"], where, features)) {
      require(found.count > 0, ErrorCategory::bad_file,
              where + ": '" + feature + "' lacks a count");
      const auto known = all.find(feature);
      if (known == all.end()) {
        all.emplace(feature, std::move(found));
        continue;
      }
      require(known->second.mean.numel() == found.mean.numel(), ErrorCategory::bad_file,
              where + ": '" + feature + "' has " + std::to_string(found.mean.numel()) +
                  " numbers, in episodes before " + std::to_string(known->second.mean.numel()));
      known->second = merged(known->second, found);
    }
  });
  return all;
}

std::vector<double> as_numbers(const Tensor& values) {
  const Tensor flat = values.to(at::kDouble).contiguous();
  const auto* first = flat.const_data_ptr<double>();
  return {first, first + flat.numel()};
}

}  // namespace

std::map<std::string, StoredStatistics> read_lerobot_statistics(
    const fs::path& root, const std::vector<LeRobotFeature>& features) {
  fs::path file = root / "meta" / "stats.json";
  std::map<std::string, FeatureStatistics> found;
  if (fs::exists(file)) {
    found = checked(io::read_json(file), file.string(), features);
  } else {
    file = root / "meta" / "episodes_stats.jsonl";
    if (fs::exists(file)) found = of_episodes(file, features);
  }
  std::map<std::string, StoredStatistics> stored;
  for (const auto& [feature, one] : found)
    stored[feature] = {
        .file = file.string(),
        .mean = as_numbers(one.mean),
        .std = as_numbers(one.std),
        .min = as_numbers(one.min),
        .max = as_numbers(one.max),
        .count = one.count,
        .known = one.known.defined() ? as_numbers(one.known) : std::vector<double>()};
  return stored;
}

}  // namespace foresight::data
