// SPDX-License-Identifier: Apache-2.0
// Problems and settings of planners as fixtures record them, for a replay of their search.
#pragma once

#include <nlohmann/json.hpp>

#include "foresight/planning/presets.hpp"
#include "foresight/planning/problem.hpp"
#include "test_device.hpp"

namespace foresight {

/// A problem whose search is on the test_device(), where a fixture's tensors are.
inline Problem golden_problem() {
  Problem problem;
  problem.options = problem.options.device(test_device());
  return problem;
}

/// Everything is recorded, and the answer, for which no cost is recorded, is not evaluated.
inline SamplingOptions replayed(SamplingOptions options) {
  options.record = PlannerRecord::everything;
  options.evaluate_result = false;
  return options;
}

/// `planner`: the section plan_cfg.planner of an eb_jepa fixture.
inline SamplingOptions replayed_eb_jepa(const nlohmann::json& planner) {
  const bool is_cem = planner.at("planner_name") == "cem";
  auto options = replayed(is_cem ? eb_jepa_cem() : eb_jepa_mppi());
  options.samples = planner.at("num_samples");
  options.iterations = planner.at("n_iters");
  options.elites = planner.at("num_elites");
  options.initial_std = {is_cem ? planner.at("var_scale").get<double>()
                                : planner.value("max_std", 2.0)};
  options.temperature = planner.value("temperature", 0.005);
  if (is_cem && planner.at("max_norms").is_null()) options.bound = BoundKind::none;
  return options;
}

}  // namespace foresight
