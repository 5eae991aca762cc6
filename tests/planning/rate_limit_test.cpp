// SPDX-License-Identifier: Apache-2.0
// Rate limits inside candidates: against a scalar reference, and with answers that can be told in
// advance.
#include <algorithm>

#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/refined_planner.hpp"
#include "planner_conformance.hpp"

namespace foresight::rate_limit_test {
namespace {

using testing::quadratic_cost;

Plan solve(const Planner& planner, const Problem& problem) {
  PhiloxNoise noise(3);
  return planner.solve(problem, noise);
}

// Two dimensions, blocks of two raw actions, three blocks.
Problem limited_problem() {
  Problem problem;
  problem.batch = 2;
  problem.horizon = 3;
  problem.action.dim = 2;
  problem.action.block = 2;
  problem.action.low = {-1.0, -2.0};
  problem.action.high = {1.0, 2.0};
  problem.max_step = at::tensor({0.25F, 0.5F});
  problem.previous_action = at::tensor({0.875F, 0.0F, -0.25F, 1.75F}).reshape({2, 2});
  return problem;
}

// The rule, one number at a time. NaN in `pinned` is free.
void limit_by_hand(float* plan, const Problem& problem, const float* previous,
                   const float* pinned) {
  const auto dim = problem.action.dim, steps = problem.horizon * problem.action.block;
  for (int64_t t = 0; t < steps; ++t) {
    for (int64_t d = 0; d < dim; ++d) {
      float& value = plan[t * dim + d];
      const float before = t == 0 ? previous[d] : plan[(t - 1) * dim + d];
      const float step = problem.max_step[d].item<float>();
      value = std::min(std::max(value, before - step), before + step);
      if (!problem.action.low.empty())
        value = std::min(std::max(value, static_cast<float>(problem.action.low[d])),
                         static_cast<float>(problem.action.high[d]));
      if (pinned && !std::isnan(pinned[t * dim + d])) value = pinned[t * dim + d];
    }
  }
}

// Draws become candidates as the scalar rule says, pinned values included. All numbers are
// multiples of 1/8, which every type adds exactly. A box is kept by loops on the CPU, a radius by
// tensor operations; this one is never reached.
void compare_with_scalar_rule(const Tensor& pinned, at::ScalarType type, BoundKind bound) {
  auto problem = limited_problem();
  problem.options = type;
  if (bound == BoundKind::radial) problem.action.low = problem.action.high = {};
  if (pinned.defined()) problem.pinned = pinned;
  problem.cost = quadratic_cost(at::zeros({2, 3, 4}));
  auto options = lewm_cem();
  options.samples = 20;
  options.elites = 3;
  options.iterations = 1;
  options.bound = bound;
  options.radius = 1e6;
  options.mean_candidate = MeanCandidate::never;
  options.record = PlannerRecord::everything;
  RecordedNoise noise;
  const auto draws = (at::randn({1, 20, 3, 4}) * 16).round() / 8;
  noise.push(draws);
  const auto plan = SamplingPlanner(options).solve(problem, noise);
  REQUIRE(plan.status == Status::ok);
  // The search starts from zeros brought within reach, and so is what it draws around them.
  auto expected = at::zeros({2, 21, 3, 4});
  for (int64_t b = 0; b < 2; ++b)
    for (int64_t s = 0; s < 21; ++s) {
      if (s > 0) expected[b][s].copy_(expected[b][0] + draws[0][s - 1]);
      limit_by_hand(expected[b][s].data_ptr<float>(), problem,
                    problem.previous_action[b].data_ptr<float>(),
                    pinned.defined() ? pinned.data_ptr<float>() : nullptr);
    }
  expected = expected.narrow(1, 1, 20);
  CHECK(at::equal(plan.diagnostics.iteration[0].candidates.to(at::kFloat), expected));
}

TEST_CASE("candidates follow the scalar rule: reach of the last action, then limits, then pins") {
  auto pinned = at::full({3, 4}, std::nan(""));
  pinned[1][1] = 1.5F;
  pinned[2][0] = -0.375F;
  for (const auto type : {at::kFloat, at::kDouble}) {
    for (const auto bound : {BoundKind::box, BoundKind::radial}) {
      compare_with_scalar_rule({}, type, bound);
      compare_with_scalar_rule(pinned, type, bound);
    }
  }
}

TEST_CASE("without a previous action the first one is free") {
  auto problem = limited_problem();
  problem.previous_action = Tensor();
  problem.cost = quadratic_cost(at::full({2, 3, 4}, 0.95));
  auto options = lewm_cem();
  options.bound = BoundKind::box;
  const auto plan = solve(SamplingPlanner(options), problem);
  CHECK(at::allclose(plan.actions, at::full({2, 3, 4}, 0.95F), 0, 1e-2));
}

TEST_CASE("an unlimited dimension beside a limited one stays free") {
  auto problem = limited_problem();
  problem.max_step = at::tensor({HUGE_VALF, 0.1F});
  problem.previous_action = at::zeros({2, 2});
  problem.cost = quadratic_cost(at::full({2, 3, 4}, 0.9));
  const auto plan = solve(CmaEsPlanner({.samples = 24, .iterations = 150}), problem);
  const auto raw = plan.actions.reshape({2, 6, 2});
  CHECK(at::allclose(raw.select(2, 0), at::full({2, 6}, 0.9F), 0, 2e-2));
  CHECK(at::allclose(raw.select(2, 1), at::arange(1, 7).mul(0.1F).expand({2, 6}), 0, 2e-2));
}

// The best admissible plan towards a far target is a ramp at full rate, then the limit.
void check_ramp(const Planner& planner, double tolerance) {
  auto problem = limited_problem();
  problem.previous_action = at::tensor({-0.5F, -1.0F, 0.4F, 0.0F}).reshape({2, 2});
  problem.cost = quadratic_cost(at::full({2, 3, 4}, 10.0));
  const auto plan = solve(planner, problem);
  CHECK(plan.status == Status::ok);
  const auto steps = at::arange(1, 7, at::kFloat).reshape({1, 6, 1});
  const auto ramp = problem.previous_action.unsqueeze(1) + steps * problem.max_step;
  const auto expected = at::minimum(ramp, at::tensor({1.0F, 2.0F}));
  const auto error = (plan.actions.reshape({2, 6, 2}) - expected).abs().max().item<double>();
  INFO("largest distance to the ramp " << error);
  CHECK(error < tolerance);
}

TEST_CASE("evolution, gradients, refinement and slowed CEM find the ramp of fastest change") {
  auto cem = lewm_cem();
  cem.bound = BoundKind::box;
  check_ramp(CmaEsPlanner({.samples = 24, .iterations = 150}), 0.02);
  check_ramp(GradientPlanner({.samples = 4, .iterations = 60}), 0.02);
  check_ramp(LagrangianPlanner({.inner = {.samples = 4,
                                          .iterations = 40,
                                          .optimizer = ActionOptimizer::adam,
                                          .learning_rate = 0.1}}),
             0.02);
  // As it is, CEM stops short: its std dies out before the candidates reach the corner.
  RefinedOptions refined{.search = cem};
  refined.polish.iterations = 40;
  check_ramp(RefinedPlanner(refined), 0.02);
  cem.std_momentum = {0.6};
  check_ramp(SamplingPlanner(cem), 0.05);
  cem.iterations = 60;
  check_ramp(SamplingPlanner(cem), 0.005);
}

TEST_CASE("a radius and rate limits hold together") {
  Problem problem;
  problem.horizon = 8;
  problem.action.dim = 2;
  problem.max_step = at::tensor({0.5F, 0.05F});
  problem.previous_action = at::tensor({1.0F, 0.0F}).reshape({1, 2});
  double longest = 0, fastest = 0;
  problem.cost = [&](const Tensor& actions) {
    longest = std::max(longest, actions.norm(2, {-1}).max().item<double>());
    const auto change = at::diff(
        at::cat({at::tensor({1.0F, 0.0F}).expand({1, actions.size(1), 1, 2}), actions}, 2), 1, 2);
    fastest = std::max(fastest, (change.abs() / problem.max_step).max().item<double>());
    return quadratic_cost(at::tensor({0.0F, 5.0F}).expand({1, 8, 2}))(actions);
  };
  auto options = eb_jepa_cem();
  options.radius = 1.0;
  const auto plan = solve(SamplingPlanner(options), problem);
  CHECK(longest <= 1.0 + 1e-5);
  CHECK(fastest <= 1.0 + 1e-4);
  CHECK(plan.actions[0][7][1].item<double>() == Approx(8 * 0.05).margin(0.1));
}

TEST_CASE("rate limits of another shape, NaN or for symbols are refused") {
  auto problem = limited_problem();
  problem.cost = quadratic_cost(at::zeros({2, 3, 4}));
  const SamplingPlanner planner(lewm_cem());
  problem.max_step = at::ones({4});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { solve(planner, problem); }, "max_step", "[dim]"));
  problem.max_step = at::tensor({1.0F, std::nanf("")});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { solve(planner, problem); }, "max_step", ">= 0"));
  problem.max_step = at::ones({2});
  problem.previous_action = at::ones({2});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { solve(planner, problem); }, "previous_action"));
  auto symbols = testing::quadratic_problem(1, 1, 1.0, testing::Actions::discrete);
  symbols.max_step = at::ones({4});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { solve(SamplingPlanner(categorical_cem()), symbols); },
      "max_step", "discrete"));
}

}  // namespace
}  // namespace foresight::rate_limit_test
