// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/first_episodes.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "foresight/core/log.hpp"

namespace foresight::data {
namespace {

// What tells the episodes of `dataset` from those of then.
std::vector<std::string> others_than(const Dataset& dataset, const DataIdentity& then) {
  const auto& known = dataset.columns();
  for (const auto* columns : {&then.action_columns, &then.observed_columns})
    for (const auto& column : *columns)
      if (std::find(known.begin(), known.end(), column) == known.end())
        return {fmt::format("there is no column '{}'", column)};
  return differences(identity_of(dataset, then.action_columns, then.observed_columns), then);
}

}  // namespace

FirstEpisodes::FirstEpisodes(std::shared_ptr<const Dataset> dataset, int64_t count)
    : ForwardedDataset(dataset), count_(count) {
  require(dataset != nullptr && count >= 1 && count <= dataset->num_episodes(),
          ErrorCategory::invalid_argument,
          fmt::format("FirstEpisodes needs a data set of {} episodes, and one at least", count));
}

std::map<int64_t, std::string> FirstEpisodes::unreadable_episodes() const {
  auto episodes = shown().unreadable_episodes();
  episodes.erase(episodes.lower_bound(count_), episodes.end());
  return episodes;
}

std::vector<int64_t> FirstEpisodes::episodes_of_split(const std::string& split) const {
  auto episodes = shown().episodes_of_split(split);
  std::erase_if(episodes, [this](int64_t episode) { return episode >= count_; });
  return episodes;
}

std::shared_ptr<const Dataset> without_appended(std::shared_ptr<const Dataset> dataset,
                                                const DataIdentity& then) {
  if (then.fingerprint.empty() || then.episodes < 1 || dataset->num_episodes() <= then.episodes)
    return dataset;
  auto first = std::make_shared<const FirstEpisodes>(dataset, then.episodes);
  const auto others = others_than(*first, then);
  if (!others.empty()) {
    log(LogLevel::warning,
        fmt::format("{} has {} episodes by now, and the first {} are not those of then: {}",
                    dataset->name(), dataset->num_episodes(), then.episodes,
                    fmt::join(others, "; ")));
    return dataset;
  }
  log(LogLevel::warning, fmt::format("{} has {} episodes by now: the first {}, which are those of "
                                     "then, are used",
                                     dataset->name(), dataset->num_episodes(), then.episodes));
  return first;
}

}  // namespace foresight::data
