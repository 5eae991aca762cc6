// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sampling_options.hpp"

#include <cmath>

namespace foresight {
namespace {

void check_list(Rules& rules, std::string_view name, const std::vector<double>& values, double low,
                double high, std::string_view rule) {
  for (const double value : values)
    rules.check(std::isfinite(value) && value >= low && value <= high, name, value, rule);
}

constexpr double kHuge = 1e30;

}  // namespace

std::vector<std::string> SamplingOptions::validate() const {
  Rules rules("SamplingOptions");
  const auto at_least = [&](std::string_view name, int64_t value, int64_t low) {
    rules.check(value >= low, name, static_cast<double>(value),
                "must be >= " + std::to_string(low));
  };
  at_least("samples", samples, 1);
  at_least("iterations", iterations, 1);
  at_least("elites", elites, 0);
  rules.check(elites <= samples, "elites", static_cast<double>(elites),
              "must be <= samples = " + std::to_string(samples));
  rules.check(sample_decay >= 1 && std::isfinite(sample_decay), "sample_decay", sample_decay,
              "must be >= 1");
  rules.check(!initial_mean.empty(), "initial_mean", "[]", "must have at least one value");
  rules.check(!initial_std.empty(), "initial_std", "[]", "must have at least one value");
  check_list(rules, "initial_mean", initial_mean, -kHuge, kHuge, "must be finite");
  check_list(rules, "initial_std", initial_std, 0, kHuge, "must be finite and >= 0");
  check_list(rules, "covariance", covariance, -kHuge, kHuge, "must be finite");
  check_list(rules, "noise_mean", noise_mean, -kHuge, kHuge, "must be finite");
  check_list(rules, "max_rate", max_rate, 0, kHuge, "must be finite and >= 0");
  check_list(rules, "dead_zone", dead_zone, 0, kHuge, "must be finite and >= 0");
  check_list(rules, "mean_momentum", mean_momentum, 0, 1, "must be in [0, 1]");
  check_list(rules, "std_momentum", std_momentum, 0, 1, "must be in [0, 1]");
  rules.check(!mean_momentum.empty(), "mean_momentum", "[]", "must have at least one value");
  rules.check(!std_momentum.empty(), "std_momentum", "[]", "must have at least one value");
  rules.check(covariance.empty() || std_update == StdUpdate::fixed, "covariance", "given",
              "needs std_update = fixed: a full covariance is not refitted");
  rules.check(std::isfinite(noise_exponent) && noise_exponent >= 0, "noise_exponent",
              noise_exponent, "must be >= 0");
  at_least("knots", knots, 0);
  rules.check(kernel_width > 0 && std::isfinite(kernel_width), "kernel_width", kernel_width,
              "must be positive");
  rules.check(rate_step > 0 && std::isfinite(rate_step), "rate_step", rate_step,
              "must be positive");
  at_least("kept_elites", kept_elites, 0);
  at_least("carried_elites", carried_elites, 0);
  rules.check(radius > 0 && std::isfinite(radius), "radius", radius, "must be positive");
  rules.check(temperature > 0 && std::isfinite(temperature), "temperature", temperature,
              "must be positive");
  rules.check(std::isfinite(variance_offset) && variance_offset >= 0, "variance_offset",
              variance_offset, "must be >= 0");
  rules.check(std::isfinite(min_std) && min_std >= 0, "min_std", min_std, "must be >= 0");
  rules.check(std::isfinite(max_std) && (max_std == 0 || max_std >= min_std), "max_std", max_std,
              "must be 0 (none) or >= min_std = " + std::to_string(min_std));
  rules.check(std::isfinite(smoothing) && smoothing >= 0, "smoothing", smoothing, "must be >= 0");
  rules.check(std::isfinite(control_cost) && control_cost >= 0, "control_cost", control_cost,
              "must be >= 0");
  rules.check(std::isfinite(exploration) && exploration >= 0, "exploration", exploration,
              "must be >= 0");
  at_least("max_candidates", max_candidates, 0);
  if (proposal == ProposalKind::categorical) {
    rules.check(control_cost == 0, "control_cost", control_cost, "must be 0 for categorical");
    rules.check(exploration == 0, "exploration", exploration, "must be 0 for categorical");
    rules.check(!zero_candidate, "zero_candidate", 1, "has no meaning for categorical");
    rules.check(bound == BoundKind::none, "bound", enum_name(bound),
                "must be none for categorical");
  }
  return rules.problems();
}

}  // namespace foresight
