// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

namespace foresight::train {

std::vector<std::string> ScheduleOptions::validate() const {
  const auto is_factor = [](double f) { return f >= 0 && f <= 1; };
  return Rules("ScheduleOptions")
      .check(warmup >= 0, "warmup", static_cast<double>(warmup), "must be >= 0")
      .check(is_factor(warmup_start), "warmup_start", warmup_start, "must be in [0, 1]")
      .check(is_factor(final_factor), "final_factor", final_factor, "must be in [0, 1]")
      .check(is_factor(decay_fraction), "decay_fraction", decay_fraction, "must be in [0, 1]")
      .problems();
}

double learning_rate_factor(const ScheduleOptions& options, int64_t step, int64_t steps) {
  if (step < options.warmup)
    return options.warmup_start + (1 - options.warmup_start) * static_cast<double>(step) /
                                      static_cast<double>(options.warmup);
  const auto after_warmup = static_cast<double>(std::max<int64_t>(steps - options.warmup, 1));
  const auto progress = std::min(1.0, static_cast<double>(step - options.warmup) / after_warmup);
  switch (options.kind) {
    case ScheduleKind::constant:
      return 1.0;
    case ScheduleKind::cosine:
      return options.final_factor +
             (1 - options.final_factor) * (1 + std::cos(std::numbers::pi * progress)) / 2;
    case ScheduleKind::wsd:
      break;
  }
  const auto decay = options.decay_fraction * static_cast<double>(steps);
  const auto left = static_cast<double>(steps - step);
  if (decay <= 0 || left >= decay) return 1.0;
  return options.final_factor + (1 - options.final_factor) * std::max(0.0, left / decay);
}

}  // namespace foresight::train
