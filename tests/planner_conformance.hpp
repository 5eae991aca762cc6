// SPDX-License-Identifier: Apache-2.0
// What every planner must do, whatever its method. Give it a planner for continuous actions; it
// poses problems whose answers are known.
#pragma once

#include <cmath>
#include <limits>
#include <stdexcept>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/planner.hpp"

namespace foresight {

/// What a planner promises beyond the interface.
struct PlannerPromise {
  bool keeps_limits = true;     ///< returned actions lie within the action limits
  bool differentiates = false;  ///< needs gradients of the cost
  double accuracy = 0.15;       ///< distance to the minimiser of a convex quadratic, per element
  bool honours_pins = true;     ///< Problem::pinned
};

/// Sum of squared distances to per-problem targets [B,H,A].
inline CostFunction quadratic_cost(const Tensor& target, double scale = 1.0) {
  return [target, scale](const Tensor& actions) {
    Costs costs;
    costs.total = (actions - target.unsqueeze(1)).square().sum({2, 3}) * scale;
    costs.terms.emplace_back("distance", costs.total);
    return costs;
  };
}

/// B problems with different targets inside +-1 and limits +-2.
inline Problem quadratic_problem(int64_t batch, int64_t horizon, double scale = 1.0) {
  Problem problem;
  problem.batch = batch;
  problem.horizon = horizon;
  problem.action.dim = 2;
  problem.action.low = {-2.0, -2.0};
  problem.action.high = {2.0, 2.0};
  const auto target =
      at::sin(at::arange(batch * horizon * 2, at::kFloat) * 0.7).reshape({batch, horizon, 2});
  problem.cost = quadratic_cost(target, scale);
  return problem;
}

inline Tensor quadratic_target(int64_t batch, int64_t horizon) {
  return at::sin(at::arange(batch * horizon * 2, at::kFloat) * 0.7).reshape({batch, horizon, 2});
}

inline void check_well_formed(const Plan& plan, const Problem& problem) {
  REQUIRE(plan.actions.defined());
  CHECK(plan.actions.sizes() == at::IntArrayRef({problem.batch, problem.horizon, problem.width()}));
  CHECK(plan.actions.isfinite().all().item<bool>());
  CHECK(plan.statuses.size() == static_cast<std::size_t>(problem.batch));
  CHECK(plan.cost.sizes() == at::IntArrayRef({problem.batch}));
  CHECK_FALSE(plan.message.empty());
  CHECK(plan.timings.total >= plan.timings.cost);
}

inline void planner_conformance(const Planner& planner, const PlannerPromise& promise = {}) {
  const auto solve = [&](const Problem& problem, std::uint64_t seed = 7) {
    PhiloxNoise noise(seed);
    return planner.solve(problem, noise);
  };

  SECTION("finds the minimum of a convex quadratic, for every problem of a batch") {
    const auto problem = quadratic_problem(3, 3);
    const auto plan = solve(problem);
    CHECK(plan.status == Status::ok);
    check_well_formed(plan, problem);
    const auto error = (plan.actions - quadratic_target(3, 3)).abs().max().item<double>();
    INFO("largest distance to the minimiser " << error);
    CHECK(error < promise.accuracy);
    // The reported cost and terms are those of the returned plan.
    const auto cost = (plan.actions - quadratic_target(3, 3)).square().sum({1, 2});
    CHECK(at::allclose(plan.cost, cost, 1e-4, 1e-5));
    REQUIRE(plan.terms.size() == 1);
    CHECK(plan.terms.front().first == "distance");
    CHECK(at::allclose(plan.terms.front().second, cost, 1e-4, 1e-5));
  }

  SECTION("the same seed gives the same plan, another seed another") {
    const auto problem = quadratic_problem(2, 3);
    const auto first = solve(problem, 11), again = solve(problem, 11);
    CHECK(at::equal(first.actions, again.actions));
    CHECK(at::equal(first.cost, again.cost));
  }

  SECTION("a problem's plan does not depend on its neighbours in the batch") {
    const auto together = solve(quadratic_problem(3, 2));
    for (int64_t b = 0; b < 3; ++b) {
      auto alone = quadratic_problem(1, 2);
      alone.cost = quadratic_cost(quadratic_target(3, 2).narrow(0, b, 1));
      const auto plan = solve(alone);
      CHECK(at::allclose(plan.actions[0], together.actions[b], 1e-5, 1e-6));
    }
  }

  SECTION("a horizon of one block is planned like any other") {
    const auto problem = quadratic_problem(2, 1);
    const auto plan = solve(problem);
    CHECK(plan.status == Status::ok);
    check_well_formed(plan, problem);
    CHECK((plan.actions - quadratic_target(2, 1)).abs().max().item<double>() < promise.accuracy);
  }

  SECTION("tiny and huge costs keep the plan finite") {
    for (const double scale : {1e-20, 1e-6, 1e6, 1e15}) {
      INFO("cost scale " << scale);
      const auto problem = quadratic_problem(2, 2, scale);
      const auto plan = solve(problem);
      CHECK(plan.status == Status::ok);
      check_well_formed(plan, problem);
    }
  }

  SECTION("minimisers outside the limits give plans inside them") {
    auto problem = quadratic_problem(2, 3);
    problem.cost = quadratic_cost(at::full({2, 3, 2}, 50.0));
    const auto plan = solve(problem);
    check_well_formed(plan, problem);
    if (promise.keeps_limits) {
      CHECK(plan.actions.abs().max().item<double>() <= 2.0);
      CHECK(plan.actions.mean().item<double>() > 0.5);
    }
  }

  SECTION("pinned values are honoured") {
    if (promise.honours_pins) {
      auto problem = quadratic_problem(2, 3);
      problem.pinned = at::full({3, 2}, std::nan(""));
      problem.pinned[1][0] = 0.25;
      const auto plan = solve(problem);
      check_well_formed(plan, problem);
      CHECK(plan.actions.select(1, 1).select(1, 0).eq(0.25).all().item<bool>());
    }
  }

  SECTION("some candidates cost NaN or infinity: they are counted and never chosen") {
    auto problem = quadratic_problem(2, 2);
    const auto target = quadratic_target(2, 2);
    problem.cost = [target](const Tensor& actions) {
      auto costs = quadratic_cost(target)(actions);
      const auto bad =
          actions.select(2, 0).select(2, 0).gt(target.select(1, 0).select(1, 0).unsqueeze(1) + 0.5);
      costs.total = costs.total.masked_fill(bad, std::nan(""));
      costs.terms.clear();
      return costs;
    };
    const auto plan = solve(problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::ok);
    CHECK(plan.cost.isfinite().all().item<bool>());
  }

  SECTION("one problem whose costs are all NaN does not spoil the other") {
    auto problem = quadratic_problem(2, 2);
    const auto target = quadratic_target(2, 2);
    problem.cost = [target](const Tensor& actions) {
      auto costs = quadratic_cost(target)(actions);
      const auto poison = at::tensor({0.0F, std::numeric_limits<float>::quiet_NaN()}).unsqueeze(1);
      costs.total = costs.total + poison;
      costs.terms.clear();
      return costs;
    };
    const auto plan = solve(problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::non_finite);
    CHECK(plan.statuses[0] == Status::ok);
    CHECK(plan.statuses[1] == Status::non_finite);
    CHECK((plan.actions[0] - target[0]).abs().max().item<double>() < promise.accuracy);
  }

  SECTION("a throwing or malformed cost function is told by the status") {
    auto problem = quadratic_problem(1, 2);
    problem.cost = [](const Tensor&) -> Costs { throw std::runtime_error("wheels fell off"); };
    auto plan = solve(problem);
    CHECK(plan.status == Status::failed);
    CHECK(plan.message.find("wheels fell off") != std::string::npos);
    problem.cost = [](const Tensor& actions) { return Costs{actions.sum({2, 3}).sum(1), {}, {}}; };
    plan = solve(problem);
    CHECK(plan.status == Status::failed);
    CHECK(plan.message.find("[B,S]") != std::string::npos);
  }

  SECTION("a deadline in the past returns the warm start at once") {
    auto problem = quadratic_problem(2, 2);
    problem.warm_start.mean = at::full({2, 2, 2}, 0.5);
    problem.deadline = Problem::Clock::now() - std::chrono::milliseconds(1);
    const auto plan = solve(problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::deadline_reached);
    CHECK(plan.diagnostics.iterations == 0);
    CHECK(at::allclose(plan.actions, problem.warm_start.mean));
  }

  SECTION("malformed problems are errors that name the field") {
    auto problem = quadratic_problem(1, 2);
    problem.batch = 0;
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { solve(problem); }, "Problem.batch", "0"));
    problem = quadratic_problem(1, 2);
    problem.horizon = 0;
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { solve(problem); }, "Problem.horizon"));
    problem = quadratic_problem(1, 2);
    problem.cost = nullptr;
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { solve(problem); }, "Problem.cost"));
    problem = quadratic_problem(1, 2);
    problem.warm_start.mean = at::zeros({1, 2, 5});
    CHECK(fails_with(
        ErrorCategory::invalid_argument, [&] { solve(problem); }, "warm_start", "[1, 2, 5]"));
  }

  SECTION("no gradient bookkeeping leaks into the plan") {
    const auto plan = solve(quadratic_problem(1, 2));
    CHECK_FALSE(plan.actions.requires_grad());
    CHECK_FALSE(plan.cost.requires_grad());
  }
}

}  // namespace foresight
