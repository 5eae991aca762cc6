// SPDX-License-Identifier: Apache-2.0
// Problems and settings of planners as fixtures record them, for a replay of their search.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "foresight/planning/plan.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/problem.hpp"
#include "golden.hpp"

namespace foresight {

/// Calls `test` for every file of a family in both precisions in which the reference ran it: inputs
/// are golden.input(key, type), results go to golden.compare_run().
inline void for_each_golden_run(const std::string& family,
                                const std::function<void(Golden&, at::ScalarType)>& test) {
  for_each_golden(family, [&](Golden& golden) {
    for (const auto type : {at::kFloat, at::kDouble}) {
      INFO("in " << c10::toString(type));
      test(golden, type);
    }
  });
}

/// What correlation with the recorded costs compare_bfloat16_costs() demands. Measured is 0.975 and
/// more; costs that are shifted by one candidate have 0.2 and less.
inline constexpr double kLeastCorrelation = 0.9;

/// Pearson's correlation of `left` and `right` along a dimension. Where one of them is constant it
/// is NaN, or 0 but for rounding.
inline Tensor correlation(const Tensor& left, const Tensor& right, int64_t dim) {
  const auto a = left - left.mean(dim, /*keepdim=*/true);
  const auto b = right - right.mean(dim, /*keepdim=*/true);
  return (a * b).sum(dim) / (a.square().sum(dim) * b.square().sum(dim)).sqrt();
}

/// Compares, in bfloat16, what `cost` asks of the candidates that the reference recorded with the
/// costs that it recorded, iteration by iteration. Nothing is selected: a search of our own would
/// part from the reference's where the last digits decide. What bfloat16 may lose of a cost can be
/// more than the candidates' costs differ by, but it loses much the same of all of them: so they
/// must correlate with the recorded ones as well. `key`: of the costs; `candidates` and what `cost`
/// is called with: [I,..], one of them. `roundings`: in sequence, of the costs. `rivals`: the
/// dimension of the costs [I,..] along which they are those of one problem.
inline void compare_bfloat16_costs(Golden& golden, const std::string& key, const Tensor& candidates,
                                   const std::function<Tensor(const Tensor&)>& cost,
                                   int64_t roundings, int64_t rivals = -1) {
  INFO("in bfloat16");
  std::vector<Tensor> costs;
  for (const auto& of_iteration : candidates.to(at::kBFloat16).unbind(0))
    costs.push_back(cost(of_iteration));
  const auto actual = at::stack(costs);
  golden.compare_bfloat16_distances(key, actual, roundings);
  const auto wide = "outputs64/" + key;
  const auto expected = golden.has(wide) ? golden.at(wide) : golden.output(key);
  REQUIRE(actual.sizes() == expected.sizes());
  const auto on_host = [](const Tensor& tensor) { return tensor.to(at::kCPU, at::kDouble); };
  const auto least = correlation(on_host(actual), on_host(expected), rivals).min();
  INFO("fixture " << golden.name() << ", key " << key << ": least correlation with the recorded");
  CHECK(least.item<double>() >= kLeastCorrelation);  // NaN is not
}

/// A problem whose search is in `type` on the test_device(), where a fixture's tensors are.
inline Problem golden_problem(at::ScalarType type = at::kFloat) {
  Problem problem;
  problem.options = problem.options.device(test_device()).dtype(type);
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

/// What an eb_jepa fixture calls its plan [H,A]: the last mean of its CEM is not bounded once more,
/// as ours is, which is up to 1e-6 shorter (the guard of the division by its length).
inline Tensor eb_jepa_answer(const Plan& plan, bool is_cem) {
  if (!is_cem) return plan.actions[0];
  const auto mean = plan.diagnostics.iteration.back().mean[0];
  CHECK(at::allclose(plan.actions[0], mean, /*rtol=*/0, /*atol=*/2e-6));
  return mean;
}

}  // namespace foresight
