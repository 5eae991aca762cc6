// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight::eval {

namespace {

void require_open_unit(const char* name, double value) {
  require(value > 0 && value < 1, ErrorCategory::invalid_argument,
          std::string(name) + " = " + std::to_string(value) + " must lie inside (0, 1)");
}

}  // namespace

double normal_quantile(double probability) {
  require_open_unit("normal_quantile: probability", probability);
  // Bisection on erfc, which is accurate in both tails: slow and plain, and called once per report.
  double low = -40, high = 40;
  for (int i = 0; i < 200; ++i) {
    const double middle = 0.5 * (low + high);
    const double below = 0.5 * std::erfc(-middle / std::sqrt(2.0));
    (below < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

Interval wilson_interval(int64_t successes, int64_t trials, double confidence) {
  require(trials >= 1 && successes >= 0 && successes <= trials, ErrorCategory::invalid_argument,
          "wilson_interval: " + std::to_string(successes) + " successes of " +
              std::to_string(trials) + " trials, accepted: 0 <= successes <= trials, trials >= 1");
  require_open_unit("wilson_interval: confidence", confidence);
  const double z = normal_quantile(0.5 + 0.5 * confidence);
  const auto n = static_cast<double>(trials);
  const double p = static_cast<double>(successes) / n;
  const double scale = 1 + z * z / n;
  const double centre = (p + z * z / (2 * n)) / scale;
  const double half = z * std::sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / scale;
  // At the ends the bound is 0 or 1 exactly; the formula would round.
  return {successes == 0 ? 0.0 : centre - half, successes == trials ? 1.0 : centre + half};
}

double quantile(std::vector<double> values, double q) {
  require(!values.empty(), ErrorCategory::invalid_argument, "quantile: no values");
  require(q >= 0 && q <= 1, ErrorCategory::invalid_argument,
          "quantile: q = " + std::to_string(q) + " must be in [0, 1]");
  std::sort(values.begin(), values.end());
  const double position = q * static_cast<double>(values.size() - 1);
  const auto below = static_cast<std::size_t>(std::floor(position));
  const auto above = std::min(below + 1, values.size() - 1);
  const double fraction = position - static_cast<double>(below);
  return values[below] + fraction * (values[above] - values[below]);
}

DurationSummary summarise_durations(const std::vector<double>& durations) {
  if (durations.empty()) return {};
  return {static_cast<int64_t>(durations.size()), quantile(durations, 0.5),
          quantile(durations, 0.95), quantile(durations, 1)};
}

}  // namespace foresight::eval
