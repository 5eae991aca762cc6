// SPDX-License-Identifier: Apache-2.0
#include "frame_sample.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "foresight/data/dataset.hpp"

namespace foresight::data {
namespace {

constexpr int64_t kStretches = 32;

// Of every length an equal share of `budget`, or all of it where that is less.
std::vector<int64_t> equal_shares(const std::vector<int64_t>& lengths, int64_t budget) {
  std::vector<std::size_t> ascending(lengths.size());
  std::iota(ascending.begin(), ascending.end(), std::size_t{0});
  std::sort(ascending.begin(), ascending.end(),
            [&](std::size_t a, std::size_t b) { return lengths[a] < lengths[b]; });
  std::vector<int64_t> shares(lengths.size());
  auto waiting = std::ssize(lengths);
  for (const auto place : ascending) {
    shares[place] = std::min(lengths[place], budget / waiting--);
    budget -= shares[place];
  }
  return shares;
}

}  // namespace

std::vector<int64_t> spread(int64_t count, int64_t size) {
  std::vector<int64_t> places;
  for (int64_t i = 0; i < count; ++i)
    places.push_back(count == 1 ? 0 : i * (size - 1) / (count - 1));
  places.erase(std::unique(places.begin(), places.end()), places.end());
  return places;
}

std::vector<Stretch> frame_sample(const Dataset& dataset, const std::vector<int64_t>& episodes,
                                  int64_t budget, int64_t least) {
  const auto available = std::ssize(episodes);
  if (available == 0 || budget < 1) return {};
  int64_t rows = 0;
  for (const int64_t e : episodes) rows += dataset.length(e);
  const int64_t fewest =
      std::clamp<int64_t>(budget / least, 1, std::min<int64_t>(kStretches, available));
  const int64_t whole = budget / std::max<int64_t>(1, rows / available);
  std::vector<int64_t> chosen, lengths;
  for (const int64_t place : spread(std::clamp<int64_t>(whole, fewest, available), available)) {
    chosen.push_back(episodes[static_cast<std::size_t>(place)]);
    lengths.push_back(dataset.length(chosen.back()));
  }
  const auto shares = equal_shares(lengths, budget);
  std::vector<Stretch> sample;
  for (std::size_t i = 0; i < chosen.size(); ++i) {
    const int64_t most = std::max<int64_t>(1, shares[i] / least);
    const int64_t stretches =
        shares[i] == lengths[i] ? 1 : std::clamp<int64_t>(kStretches / std::ssize(chosen), 1, most);
    const int64_t count = shares[i] / stretches, last = lengths[i] - count;
    constexpr std::array<int64_t, 5> kQuarters = {0, 2, 4, 1, 3};  // where a single one begins
    for (int64_t s = 0; s < stretches; ++s)
      sample.push_back({chosen[i],
                        stretches > 1 ? s * last / (stretches - 1) : kQuarters[i % 5] * last / 4,
                        count});
  }
  return sample;
}

}  // namespace foresight::data
