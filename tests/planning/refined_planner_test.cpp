// SPDX-License-Identifier: Apache-2.0
// Sampling polished by gradients: where it helps, and that it never harms.
#include "foresight/planning/refined_planner.hpp"

#include <nlohmann/json.hpp>

#include "foresight/core/options_json.hpp"
#include "foresight/planning/presets.hpp"
#include "planner_conformance.hpp"

namespace foresight::refined_planner_test {
namespace {

using testing::quadratic_problem;
using testing::quadratic_target;

RefinedOptions coarse() {
  RefinedOptions options{.search = lewm_cem()};
  options.search.samples = 64;
  options.search.elites = 8;
  options.search.iterations = 4;
  options.search.bound = BoundKind::box;
  options.polish.iterations = 40;
  return options;
}

// The search that a refined planner runs, by itself.
Plan searched(const RefinedOptions& options, const Problem& problem) {
  PhiloxNoise noise(2);
  return SamplingPlanner(options.search).solve(problem, noise);
}

Plan refined(const RefinedOptions& options, const Problem& problem) {
  PhiloxNoise noise(2);
  return RefinedPlanner(options).solve(problem, noise);
}

// Two valleys with a narrow deep one and a rugged floor, per action.
Costs rugged(const Tensor& actions) {
  const auto x = actions;
  const auto cost =
      0.1 * (x - 1.2).square() - at::exp(-(x - 1.2).square() / 0.02) + 0.05 * at::cos(25 * x);
  return Costs{cost.sum({2, 3}), {}, {}};
}

TEST_CASE("refinement finds the bottom of the valley that a coarse search found") {
  const auto options = coarse();
  const auto problem = quadratic_problem(3, 4);
  const auto before = searched(options, problem), after = refined(options, problem);
  CHECK(after.status == Status::ok);
  CHECK(after.cost.lt(0.05 * before.cost).all().item<bool>());
  CHECK(at::allclose(after.cost, (after.actions - quadratic_target(3, 4)).square().sum({1, 2}),
                     1e-4, 1e-6));
}

TEST_CASE("refinement never returns a worse plan than its search, step size however wild") {
  for (const double rate : {0.02, 0.5, 50.0}) {
    INFO("learning rate " << rate);
    auto options = coarse();
    options.polish.learning_rate = rate;
    for (const bool smooth : {true, false}) {
      auto problem = quadratic_problem(3, 2);
      if (!smooth) problem.cost = rugged;
      const auto before = searched(options, problem), after = refined(options, problem);
      CHECK(after.cost.le(before.cost + 1e-6).all().item<bool>());
    }
  }
}

TEST_CASE("refinement starts from the best candidates too, not from the mean alone") {
  // The mean of two equally good valleys is a hill: only candidates are worth polishing.
  auto problem = quadratic_problem(1, 1);
  problem.cost = [](const Tensor& actions) {
    return Costs{(actions.square() - 1).square().sum({2, 3}), {}, {}};
  };
  auto options = coarse();
  options.search.iterations = 1;
  options.search.mean_candidate = MeanCandidate::never;
  options.polish.iterations = 100;
  const auto plan = refined(options, problem);
  CHECK(plan.cost.item<double>() < 1e-3);
}

TEST_CASE("a feasible plan is never traded for a cheaper one that breaks a constraint") {
  auto problem = quadratic_problem(2, 1);
  problem.cost = [](const Tensor& actions) {
    Costs costs;
    costs.total = (actions - 1.0).square().sum({2, 3});
    costs.constraint = (actions.select(2, 0).select(2, 0) - 0.2).unsqueeze(2);
    return costs;
  };
  auto options = coarse();
  options.search.iterations = 12;
  const auto plan = refined(options, problem);
  CHECK(plan.status == Status::ok);
  CHECK(plan.constraint.le(0).all().item<bool>());
}

TEST_CASE("a cost without gradients leaves the plan of the search, and says so") {
  auto problem = quadratic_problem(2, 2);
  problem.cost = [inner = problem.cost](const Tensor& actions) { return inner(actions.detach()); };
  const auto options = coarse();
  const auto before = searched(options, problem), after = refined(options, problem);
  CHECK(after.status == Status::ok);
  CHECK(at::equal(after.actions, before.actions));
  CHECK(after.message.find("not differentiable") != std::string::npos);
}

TEST_CASE("the search leaves time to polish before a deadline") {
  auto problem = quadratic_problem(1, 2);
  auto now = Problem::Clock::time_point();
  problem.now = [&now] { return now; };
  problem.cost = [&now, inner = problem.cost](const Tensor& actions) {
    now += std::chrono::milliseconds(1);
    return inner(actions);
  };
  auto options = coarse();
  options.search.iterations = 1000;
  options.polish.iterations = 1000;
  options.search_share = 0.5;
  problem.deadline = now + std::chrono::milliseconds(40);
  const auto plan = refined(options, problem);
  CHECK(plan.status == Status::deadline_reached);
  CHECK(plan.diagnostics.iterations > 30);
  CHECK(plan.diagnostics.iterations <= 40);
  CHECK(plan.message.find("deadline") != std::string::npos);
}

TEST_CASE("what belongs together is checked together") {
  auto options = coarse();
  options.polish.projection = Projection::simplex;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { RefinedPlanner{options}; }, "projection",
      "categorical"));
  options = coarse();
  options.search_share = 0;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { RefinedPlanner{options}; }, "search_share"));
  options = coarse();
  RefinedOptions again;
  read_options(again, write_options(options), "options");
  CHECK(write_options(again) == write_options(options));
}

}  // namespace
}  // namespace foresight::refined_planner_test
