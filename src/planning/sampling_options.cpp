// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sampling_options.hpp"

#include <cmath>

namespace foresight {
std::vector<std::string> SamplingOptions::validate() const {
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  Rules rules("SamplingOptions");
  rules.at_least("samples", number(samples), 1)
      .at_least("iterations", number(iterations), 1)
      .at_least("elites", number(elites), 0)
      .check(elites <= samples, "elites", number(elites),
             "must be <= samples = " + std::to_string(samples))
      .within("sample_decay", sample_decay, 1)
      .not_empty("initial_mean", initial_mean)
      .not_empty("initial_std", initial_std)
      .all_within("initial_mean", initial_mean)
      .all_within("initial_std", initial_std, 0)
      .all_within("covariance", covariance)
      .check(covariance.empty() || std_update == StdUpdate::fixed, "covariance", "given",
             "needs std_update = fixed: a full covariance is not refitted")
      .check(covariance.empty() || bound != BoundKind::truncated, "covariance", "given",
             "excludes bound = truncated, which shrinks each std by itself")
      .all_within("noise_mean", noise_mean)
      .within("noise_exponent", noise_exponent, 0)
      .at_least("knots", number(knots), 0)
      .positive("kernel_width", kernel_width)
      .positive("rate_step", rate_step)
      .all_within("max_rate", max_rate, 0)
      .at_least("kept_elites", number(kept_elites), 0)
      .at_least("carried_elites", number(carried_elites), 0)
      .check(elites > 0 || kept_elites == 0, "kept_elites", number(kept_elites),
             "must be 0 with elites = 0, where all candidates survive unranked")
      .check(elites > 0 || carried_elites == 0, "carried_elites", number(carried_elites),
             "must be 0 with elites = 0, where all candidates survive unranked")
      .positive("radius", radius)
      .positive("temperature", temperature)
      .not_empty("mean_momentum", mean_momentum)
      .not_empty("std_momentum", std_momentum)
      .all_within("mean_momentum", mean_momentum, 0, 1)
      .all_within("std_momentum", std_momentum, 0, 1)
      .within("variance_offset", variance_offset, 0)
      .within("min_std", min_std, 0)
      .check(std::isfinite(max_std) && (max_std == 0 || max_std >= min_std), "max_std", max_std,
             "must be 0 (none) or >= min_std = " + std::to_string(min_std))
      .within("smoothing", smoothing, 0)
      .within("control_cost", control_cost, 0)
      .within("exploration", exploration, 0)
      .all_within("dead_zone", dead_zone, 0)
      .at_least("max_candidates", number(max_candidates), 0);
  // What SamplingPlanner fills the first slots with; proposals of a problem come on top.
  const bool mean = mean_candidate == MeanCandidate::every_iteration ||
                    (mean_candidate == MeanCandidate::last_iteration && iterations == 1);
  const auto joining = std::min(elites, iterations > 1 ? kept_elites : carried_elites);
  const int64_t given = (mean ? 1 : 0) + (zero_candidate ? 1 : 0) + joining;
  rules.check(samples < 1 || samples > given, "samples", number(samples),
              "must be > " + std::to_string(given) +
                  ": the mean, the zero plan and kept elites take that many, and nothing would be "
                  "searched (see mean_candidate)");
  if (proposal == ProposalKind::categorical) {
    rules.check(control_cost == 0, "control_cost", control_cost, "must be 0 for categorical");
    rules.check(exploration == 0, "exploration", exploration, "must be 0 for categorical");
    rules.check(dead_zone.empty(), "dead_zone", "given", "has no meaning for categorical");
    rules.check(!zero_candidate, "zero_candidate", 1, "has no meaning for categorical");
    rules.check(bound == BoundKind::none, "bound", enum_name(bound),
                "must be none for categorical");
  }
  return rules.problems();
}

}  // namespace foresight
