// SPDX-License-Identifier: Apache-2.0
// How sure a measured rate is, and how a set of timings is summed up.
#pragma once

#include <cstdint>
#include <vector>

#include "foresight/core/export.hpp"

namespace foresight::eval {

/// A closed interval.
struct Interval {
  double low = 0;
  double high = 0;
};

/// Wilson's score interval of a proportion (Wilson 1927, JASA 22:209): unlike p +- 1.96 s it stays
/// inside [0,1] and holds its level for few trials and for rates near 0 and 1. Throws
/// Error(invalid_argument) unless 0 <= successes <= trials, trials >= 1 and 0 < confidence < 1.
FORESIGHT_API Interval wilson_interval(int64_t successes, int64_t trials, double confidence = 0.95);

/// Inverse of the standard normal distribution function, for 0 < probability < 1.
FORESIGHT_API double normal_quantile(double probability);

/// Quantile with linear interpolation between order statistics (numpy's default), 0 <= q <= 1.
/// `values` must not be empty or hold NaN.
FORESIGHT_API double quantile(std::vector<double> values, double q);

/// Summary of a set of durations; zeros when there are none.
struct DurationSummary {
  int64_t count = 0;
  double median = 0;
  double p95 = 0;
  double worst = 0;
};

FORESIGHT_API DurationSummary summarise_durations(const std::vector<double>& durations);

}  // namespace foresight::eval
