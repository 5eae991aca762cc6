// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/ticks.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/viz/markup.hpp"

namespace foresight::viz {
namespace {

void check_range(double low, double high, double least) {
  const bool holds = low >= least && low <= high && high <= kLargestDrawn;  // false for NaN
  require(holds, ErrorCategory::invalid_argument,
          fmt::format("axis range [{}, {}] must be ascending and within [{}, {}]", low, high, least,
                      kLargestDrawn));
}

/// The nearest of 1, 2, 5 or 10 times a power of ten (Heckbert's nicenum with rounding).
double nice_step(double step) {
  const double power = std::pow(10.0, std::floor(std::log10(step)));
  const double fraction = step / power;
  return power * (fraction < 1.5 ? 1 : fraction < 3 ? 2 : fraction < 7 ? 5 : 10);
}

/// The largest of 1, 2, 5 times a power of ten that is not above `value`, and the smallest that is
/// not below it. A value that equals one up to rounding is that one.
double round_below(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double mantissa : {5.0, 2.0})
    if (mantissa * power <= value * (1 + 1e-9)) return mantissa * power;
  return power;
}
double round_above(double value) {
  const double power = std::pow(10.0, std::floor(std::log10(value)));
  for (const double mantissa : {1.0, 2.0, 5.0})
    if (mantissa * power >= value * (1 - 1e-9)) return mantissa * power;
  return 10 * power;
}

/// Labels of one axis share their unit prefix and number of decimals.
struct TickFormat {
  double divisor = 1;
  const char* suffix = "";
  int decimals = 0;

  TickFormat(double largest, double step) {
    if (largest >= 1e4) {
      static constexpr std::array<std::pair<double, const char*>, 4> kPrefixes = {
          {{1e12, "T"}, {1e9, "G"}, {1e6, "M"}, {1e3, "k"}}};
      for (const auto& [size, name] : kPrefixes) {
        if (largest < size) continue;
        divisor = size;
        suffix = name;
        break;
      }
    }
    decimals = std::max(0, static_cast<int>(-std::floor(std::log10(step / divisor) + 1e-9)));
  }

  std::string operator()(double value) const {
    if (value == 0) return "0";
    if (decimals > 5 || std::abs(value) >= 1e16) return number(value, 6);
    auto text = fmt::format("{:.{}f}{}", value / divisor, decimals, suffix);
    if (text.front() == '-') text.replace(0, 1, "−");
    return text;
  }
};

}  // namespace

Ticks linear_ticks(double low, double high, Fit fit, int wanted) {
  check_range(low, high, -kLargestDrawn);
  const double largest = std::max(std::abs(low), std::abs(high));
  if (high - low <= 1e-12 * largest ||
      high - low < kSmallestDrawn) {  // below what a double resolves
    const double pad = largest < kSmallestDrawn * 1e6 ? 1 : 0.1 * largest;
    low -= pad;
    high += pad;
  }
  const double step = nice_step((high - low) / std::max(wanted, 1));
  const double slack = 1e-9;  // a limit that is a multiple of the step up to rounding counts as one
  const bool loose = fit == Fit::loose;
  const double first = loose ? std::floor(low / step + slack) : std::ceil(low / step - slack);
  const double last = loose ? std::ceil(high / step - slack) : std::floor(high / step + slack);
  Ticks axis{low, high, {}};
  if (loose) {
    axis.low = std::min(low, first * step);
    axis.high = std::max(high, last * step);
  }
  const TickFormat format(std::max(std::abs(first), std::abs(last)) * step, step);
  for (double k = first; k <= last; ++k)
    axis.ticks.push_back({std::clamp(k * step, axis.low, axis.high), format(k * step)});
  return axis;
}

Ticks log_ticks(double low, double high, int wanted) {
  check_range(low, high, kSmallestDrawn);
  Ticks axis{round_below(low), round_above(high), {}};
  if (axis.low >= axis.high * (1 - 1e-9)) {
    axis.low /= 2;
    axis.high *= 2;
  }
  const double decades = std::log10(axis.high) - std::log10(axis.low);
  const int first = static_cast<int>(std::floor(std::log10(axis.low) + 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(axis.high) - 1e-9));
  const int stride = std::max(1, static_cast<int>(std::ceil(decades / std::max(wanted, 1))));
  for (int exponent = first; exponent <= last; exponent += stride) {
    for (const double mantissa : {1.0, 2.0, 5.0}) {
      if (mantissa != 1 && decades >= 2) continue;
      const double value = mantissa * std::pow(10.0, exponent);
      if (value < axis.low * (1 - 1e-9) || value > axis.high * (1 + 1e-9)) continue;
      const TickFormat format(value, value);
      const bool plain = value >= 1e-3 && value < 1e15;
      axis.ticks.push_back(
          {std::clamp(value, axis.low, axis.high), plain ? format(value) : number(value, 1)});
    }
  }
  return axis;
}

int label_width(const Ticks& ticks) {
  int widest = 0;
  for (const auto& tick : ticks.ticks) widest = std::max(widest, code_points(tick.label));
  return widest;
}

}  // namespace foresight::viz
