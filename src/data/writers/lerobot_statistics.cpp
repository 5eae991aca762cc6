// SPDX-License-Identifier: Apache-2.0
#include "lerobot_statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

namespace foresight::data {
namespace {

constexpr int64_t kGridSide = 150;

// The smallest level that at least the part `share` of the pixels does not exceed.
int64_t level_below(const std::array<int64_t, 256>& counts, int64_t total, double share) {
  const auto wanted =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(share * static_cast<double>(total))));
  int64_t seen = 0;
  for (int64_t level = 0; level < 256; ++level) {
    seen += counts[static_cast<std::size_t>(level)];
    if (seen >= wanted) return level;
  }
  return 255;
}

}  // namespace

FeatureStatistics row_statistics(const Tensor& rows) {
  const Tensor values = rows.to(at::kCPU, at::kDouble);
  const Tensor known = at::isnan(values).logical_not();
  const double inf = std::numeric_limits<double>::infinity();
  const auto filled = [&](double value) {
    return at::where(known, values, at::full({}, value, at::kDouble));
  };
  FeatureStatistics all{.count = values.size(0)};
  const Tensor n = known.sum(0).to(at::kDouble);  // 0 makes a mean and a std of NaN
  if (!known.all().item<bool>()) all.known = n;
  const auto or_nan = [&](const Tensor& found) {
    return at::where(n > 0, found, at::full({}, std::nan(""), at::kDouble));
  };
  all.min = or_nan(filled(inf).amin(0));
  all.max = or_nan(filled(-inf).amax(0));
  if (rows.scalar_type() == at::kLong) {  // of which float64 may not hold all digits
    all.min = rows.to(at::kCPU).amin(0);
    all.max = rows.to(at::kCPU).amax(0);
  }
  all.mean = filled(0).sum(0) / n;
  const Tensor off = at::where(known, values - all.mean, at::zeros({}, at::kDouble));
  all.std = (off.square().sum(0) / n).sqrt();
  for (std::size_t q = 0; q < kQuantiles.size(); ++q)
    all.quantile[q] = at::nanquantile(values, kQuantiles[q], 0);
  return all;
}

FeatureStatistics merged(const FeatureStatistics& a, const FeatureStatistics& b) {
  const auto known = [](const FeatureStatistics& part) {
    return part.known.defined() ? part.known
                                : at::full({1}, static_cast<double>(part.count), at::kDouble);
  };
  const Tensor known_a = known(a), known_b = known(b), all = known_a + known_b;
  // Where one part has no value, whatever it tells counts for nothing.
  const auto chosen = [&](const Tensor& of_a, const Tensor& of_b, const Tensor& of_both) {
    const auto type = of_both.scalar_type();
    return at::where(known_a == 0, of_b.to(type), at::where(known_b == 0, of_a.to(type), of_both));
  };
  const auto average = [&](const Tensor& of_a, const Tensor& of_b) {
    return chosen(of_a, of_b, (of_a * known_a + of_b * known_b) / all);
  };
  FeatureStatistics whole{.count = a.count + b.count};
  if (a.known.defined() || b.known.defined()) whole.known = all;
  whole.min = chosen(a.min, b.min, at::minimum(a.min, b.min));
  whole.max = chosen(a.max, b.max, at::maximum(a.max, b.max));
  whole.mean = average(a.mean, b.mean);
  whole.std = average(a.std.square() + (a.mean - whole.mean).square(),
                      b.std.square() + (b.mean - whole.mean).square())
                  .sqrt();
  for (std::size_t q = 0; q < kQuantiles.size(); ++q)
    if (a.quantile[q].defined() && b.quantile[q].defined())
      whole.quantile[q] = average(a.quantile[q], b.quantile[q]);
  return whole;
}

void ColourHistogram::add(const Tensor& frame) {
  const auto step = [](int64_t size) { return (size + kGridSide - 1) / kGridSide; };
  const Tensor grid = frame.slice(0, 0, frame.size(0), step(frame.size(0)))
                          .slice(1, 0, frame.size(1), step(frame.size(1)))
                          .to(at::kCPU)
                          .contiguous();
  const auto* pixel = grid.const_data_ptr<std::uint8_t>();
  for (int64_t i = 0; i < grid.numel(); i += 3)
    for (std::size_t channel = 0; channel < 3; ++channel) ++counts_[channel][*pixel++];
  ++frames_;
}

FeatureStatistics ColourHistogram::statistics() const {
  FeatureStatistics all{.count = frames_};
  const auto made = [] { return at::zeros({3}, at::kDouble); };
  all.min = made(), all.max = made(), all.mean = made(), all.std = made();
  for (auto& quantile : all.quantile) quantile = made();
  for (int64_t channel = 0; channel < 3; ++channel) {
    const auto& counts = counts_[static_cast<std::size_t>(channel)];
    double total = 0, sum = 0, squares = 0;
    for (std::size_t level = 0; level < 256; ++level) {
      const auto n = static_cast<double>(counts[level]), value = static_cast<double>(level) / 255;
      total += n, sum += n * value, squares += n * value * value;
    }
    const auto put = [&](Tensor& where, double value) {
      where.mutable_data_ptr<double>()[channel] = value;
    };
    const auto pixels = static_cast<int64_t>(total);
    const double mean = sum / total;
    put(all.mean, mean);
    put(all.std, std::sqrt(std::max(0.0, squares / total - mean * mean)));
    put(all.min, static_cast<double>(level_below(counts, pixels, 0)) / 255);
    put(all.max, static_cast<double>(level_below(counts, pixels, 1)) / 255);
    for (std::size_t q = 0; q < kQuantiles.size(); ++q)
      put(all.quantile[q], static_cast<double>(level_below(counts, pixels, kQuantiles[q])) / 255);
  }
  return all;
}

}  // namespace foresight::data
