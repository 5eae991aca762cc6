// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/windows.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "foresight/core/noise.hpp"

namespace foresight::data {
namespace {

// Separates the split from other users of the same seed.
constexpr std::uint64_t kSplitStream = 0x53504C4954;  // "SPLIT"

std::vector<int64_t> lengths_of(const Dataset& dataset) {
  std::vector<int64_t> lengths;
  for (int64_t e = 0; e < dataset.num_episodes(); ++e) lengths.push_back(dataset.length(e));
  return lengths;
}

}  // namespace

std::vector<std::string> WindowOptions::validate() const {
  constexpr int64_t kLongest = int64_t{1} << 30;  // keeps frames * stride inside 64 bits
  Rules rules("WindowOptions");
  rules.check(frames >= 1 && frames <= kLongest, "frames", static_cast<double>(frames),
              "must be >= 1");
  rules.check(stride >= 1 && stride <= kLongest, "stride", static_cast<double>(stride),
              "must be >= 1");
  return rules.problems();
}

WindowIndex::WindowIndex(std::vector<int64_t> lengths, const WindowOptions& options,
                         std::vector<int64_t> episodes)
    : options_(options), episodes_(std::move(episodes)), first_{0} {
  require_valid(options);
  if (episodes_.empty()) {
    episodes_.resize(lengths.size());
    std::iota(episodes_.begin(), episodes_.end(), 0);
  }
  for (int64_t episode : episodes_) {
    require(episode >= 0 && episode < static_cast<int64_t>(lengths.size()),
            ErrorCategory::invalid_argument,
            "windows: episode " + std::to_string(episode) + " does not exist, accepted: 0.." +
                std::to_string(static_cast<int64_t>(lengths.size()) - 1));
    const int64_t starts = lengths[static_cast<std::size_t>(episode)] - options_.rows() + 1;
    first_.push_back(first_.back() + std::max<int64_t>(0, starts));
  }
}

WindowIndex::WindowIndex(const Dataset& dataset, const WindowOptions& options,
                         std::vector<int64_t> episodes)
    : WindowIndex(lengths_of(dataset), options, std::move(episodes)) {}

Window WindowIndex::operator[](int64_t index) const {
  if (index < 0 || index >= size())
    throw Error(ErrorCategory::invalid_argument, "windows: window " + std::to_string(index) +
                                                     " does not exist, there are " +
                                                     std::to_string(size()));
  const auto after = std::upper_bound(first_.begin(), first_.end(), index);
  const auto place = static_cast<std::size_t>(after - first_.begin() - 1);
  return {episodes_[place], index - first_[place]};
}

std::vector<int64_t> WindowIndex::frame_rows(const Window& window) const {
  std::vector<int64_t> rows(static_cast<std::size_t>(options_.frames));
  for (std::size_t t = 0; t < rows.size(); ++t)
    rows[t] = window.start + static_cast<int64_t>(t) * options_.stride;
  return rows;
}

RowsAround rows_around(const Dataset& dataset, int64_t episode, int64_t row,
                       const std::vector<double>& seconds, double tolerance_s) {
  const int64_t length = dataset.length(episode);
  require(row >= 0 && row < length, ErrorCategory::invalid_argument,
          dataset.name() + ": " + dataset.episode_name(episode) + " has rows 0.." +
              std::to_string(length - 1) + ", asked for " + std::to_string(row));
  const double fps = dataset.fps();
  require(fps > 0, ErrorCategory::invalid_argument,
          dataset.name() + ": tells no rate, so no times; set DatasetOptions.fps (--reading.fps)");
  RowsAround around;
  for (const double offset : seconds) {
    const double steps = std::round(offset * fps);
    require(std::abs(offset * fps - steps) / fps <= tolerance_s && std::abs(steps) < 1e15,
            ErrorCategory::invalid_argument,
            dataset.name() + ": " + std::to_string(offset) + " s is no multiple of 1/" +
                std::to_string(fps) + " s to within " + std::to_string(tolerance_s) + " s");
    const int64_t wanted = row + static_cast<int64_t>(steps);
    around.rows.push_back(std::clamp<int64_t>(wanted, 0, length - 1));
    around.outside.push_back(wanted != around.rows.back());
  }
  return around;
}

EpisodeSplit split_episodes(int64_t count, double validation_fraction, std::uint64_t seed) {
  require(validation_fraction >= 0 && validation_fraction <= 1, ErrorCategory::invalid_argument,
          "validation fraction = " + std::to_string(validation_fraction) + " must be 0..1");
  require(count >= 0, ErrorCategory::invalid_argument,
          "number of episodes = " + std::to_string(count) + " must be >= 0");
  auto held_out =
      static_cast<int64_t>(std::lround(validation_fraction * static_cast<double>(count)));
  if (validation_fraction > 0 && validation_fraction < 1 && count >= 2)
    held_out = std::clamp<int64_t>(held_out, 1, count - 1);
  const auto order = PhiloxNoise(seed, kSplitStream).permutation(count);
  EpisodeSplit split;
  split.validation.assign(order.begin(), order.begin() + held_out);
  split.train.assign(order.begin() + held_out, order.end());
  std::sort(split.validation.begin(), split.validation.end());
  std::sort(split.train.begin(), split.train.end());
  return split;
}

}  // namespace foresight::data
