// SPDX-License-Identifier: Apache-2.0
// What every planner must do, whatever its method: run it on a planner of your own. It poses
// problems whose answers are known, in sections of a Catch2 test case (Catch2 2 or 3):
//
//   #include <foresight/planning/planner.hpp>  // LibTorch defines a CHECK too: its headers first,
//   #include <catch2/catch_all.hpp>            // then Catch2,
//   #include <foresight/testing/planner_conformance.hpp>  // then this
//
//   TEST_CASE("my planner keeps the promises of a planner") {
//     foresight::testing::planner_conformance(MyPlanner(), {.accuracy = 0.2});
//   }
//
// One planner a test case: Catch2 tells sections apart by their place in the source. Give the
// planner enough samples and iterations for the stated accuracy in six variables.
#pragma once

#ifndef SECTION
#error "include Catch2 before foresight/testing/planner_conformance.hpp"
#endif
// Catch's CHECK stays what it is if LibTorch's logging is first included here.
#pragma push_macro("CHECK")
#undef CHECK
#include "foresight/planning/planner.hpp"
#include "foresight/testing/planner_problems.hpp"
#pragma pop_macro("CHECK")

#include <chrono>
#include <cmath>
#include <limits>
#include <stdexcept>
#include <string>

namespace foresight::testing {

enum class Promised { no, yes };

/// What a planner promises beyond the interface.
struct PlannerPromise {
  Actions actions = Actions::continuous;
  double accuracy = 0.15;  ///< distance to the minimiser of a convex quadratic, per element;
                           ///< discrete planners find it exactly
  Promised limits = Promised::yes;  ///< every candidate and answer lies within the action limits
  Promised rates = Promised::yes;   ///< ... and changes by Problem::max_step at most
  Promised pins = Promised::yes;    ///< Problem::pinned
  Promised escape = Promised::no;  ///< finds the deeper of two valleys from a slope that leads into
                                   ///< the other
};

namespace conformance {

inline Plan solve(const Planner& planner, const Problem& problem, std::uint64_t seed = 7) {
  PhiloxNoise noise(seed);
  return planner.solve(problem, noise);
}

inline void check_well_formed(const Plan& plan, const Problem& problem) {
  REQUIRE(plan.actions.defined());
  CHECK(plan.actions.sizes() == at::IntArrayRef({problem.batch, problem.horizon, problem.width()}));
  CHECK(plan.actions.isfinite().all().item<bool>());
  CHECK(plan.statuses.size() == static_cast<std::size_t>(problem.batch));
  CHECK(plan.cost.sizes() == at::IntArrayRef({problem.batch}));
  CHECK_FALSE(plan.message.empty());
  CHECK(plan.timings.total >= plan.timings.cost);
  CHECK_FALSE(plan.actions.requires_grad());
  CHECK_FALSE(plan.cost.requires_grad());
  if (!problem.action.discrete) return;
  const auto symbols = plan.actions.unflatten(-1, {problem.action.block, problem.action.dim});
  CHECK(at::equal(symbols.sum(-1), at::ones_like(symbols.sum(-1))));
  CHECK(at::equal(symbols.amax(-1), at::ones_like(symbols.amax(-1))));
}

inline double distance(const Tensor& actions, const Tensor& target) {
  return (actions - target).abs().max().item<double>();
}

/// The error message of a problem that must be refused; empty if it is not.
inline std::string refusal(const Planner& planner, const Problem& problem) {
  try {
    solve(planner, problem);
  } catch (const Error& error) {
    if (error.category() == ErrorCategory::invalid_argument) return error.what();
  }
  return {};
}

/// Largest change between consecutive raw actions of candidates [B,S,H,A], the first against the
/// previous action.
inline double largest_step(const Tensor& candidates, const Problem& problem) {
  const auto raw =
      candidates.detach().reshape({problem.batch, candidates.size(1), -1, problem.action.dim});
  const auto before = problem.previous_action.reshape({problem.batch, 1, 1, -1})
                          .expand({-1, candidates.size(1), 1, -1});
  return at::diff(at::cat({before, raw}, 2), 1, 2).abs().max().item<double>();
}

inline void check_minimum(const Planner& planner, const PlannerPromise& promise, int64_t batch,
                          int64_t horizon) {
  const auto problem = quadratic_problem(batch, horizon, 1.0, promise.actions);
  const auto target = quadratic_target(batch, horizon, promise.actions);
  const auto plan = solve(planner, problem);
  CHECK(plan.status == Status::ok);
  check_well_formed(plan, problem);
  const auto error = distance(plan.actions, target);
  INFO("largest distance to the minimiser " << error);
  CHECK(error < promise.accuracy);
  // The reported cost and terms are those of the returned plan.
  const auto cost = (plan.actions - target).square().sum({1, 2});
  CHECK(at::allclose(plan.cost, cost, 1e-4, 1e-5));
  REQUIRE(plan.terms.size() == 1);
  CHECK(plan.terms.front().first == "distance");
  CHECK(at::allclose(plan.terms.front().second, cost, 1e-4, 1e-5));
}

inline void check_invariance(const Planner& planner, const PlannerPromise& promise) {
  SECTION("the same seed gives the same plan, and leaves the planner as it was") {
    const auto problem = quadratic_problem(2, 3, 1.0, promise.actions);
    const auto first = solve(planner, problem, 11), again = solve(planner, problem, 11);
    CHECK(at::equal(first.actions, again.actions));
    CHECK(at::equal(first.cost, again.cost));
  }

  SECTION("a problem's plan does not depend on its neighbours in the batch") {
    const auto together = solve(planner, quadratic_problem(3, 2, 1.0, promise.actions));
    for (int64_t b = 0; b < 3; ++b) {
      auto alone = quadratic_problem(1, 2, 1.0, promise.actions);
      alone.cost = quadratic_cost(quadratic_target(3, 2, promise.actions).narrow(0, b, 1));
      const auto plan = solve(planner, alone);
      CHECK(at::allclose(plan.actions[0], together.actions[b], 1e-5, 1e-6));
    }
  }

  SECTION("candidates evaluated a few at a time give the plan of one call") {
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    const auto whole = solve(planner, problem);
    problem.cost = in_slices(problem.cost, 3);
    const auto sliced = solve(planner, problem);
    CHECK(at::equal(whole.actions, sliced.actions));
    CHECK(at::equal(whole.cost, sliced.cost));
  }

  SECTION("tiny and huge costs keep the plan finite") {
    for (const double scale : {1e-20, 1e-6, 1e6, 1e15}) {
      INFO("cost scale " << scale);
      const auto problem = quadratic_problem(2, 2, scale, promise.actions);
      const auto plan = solve(planner, problem);
      CHECK(plan.status == Status::ok);
      check_well_formed(plan, problem);
    }
  }
}

inline void check_limits(const Planner& planner, const PlannerPromise& promise) {
  if (promise.limits == Promised::yes) {
    SECTION("minimisers outside the limits give candidates and plans inside them") {
      auto problem = quadratic_problem(2, 3);
      double furthest = 0;
      problem.cost = [&furthest](const Tensor& actions) {
        furthest = std::max(furthest, actions.detach().abs().max().item<double>());
        return quadratic_cost(at::full({2, 3, 2}, 50.0))(actions);
      };
      const auto plan = solve(planner, problem);
      check_well_formed(plan, problem);
      CHECK(furthest <= 2.0);
      CHECK(plan.actions.abs().max().item<double>() <= 2.0);
      CHECK(plan.actions.mean().item<double>() > 0.5);
    }
  }
  if (promise.rates == Promised::yes) {
    SECTION("rate limits hold for every candidate and for the answer, within the limits") {
      auto problem = quadratic_problem(2, 3);
      problem.action.block = 2;
      problem.action.dim = 1;
      problem.action.low = {-2.0};
      problem.action.high = {2.0};
      problem.max_step = at::tensor({0.5F});
      problem.previous_action = at::tensor({-1.0F, 1.75F}).reshape({2, 1});
      problem.warm_start.mean = at::tensor({1.0F, -1.0F}).expand({2, 3, 2});  // out of reach
      double fastest = 0;
      problem.cost = [&](const Tensor& actions) {
        fastest = std::max(fastest, largest_step(actions, problem));
        return quadratic_cost(at::full({2, 3, 2}, 50.0))(actions);
      };
      const auto plan = solve(planner, problem);
      check_well_formed(plan, problem);
      CHECK(fastest > 0.1);
      CHECK(fastest <= 0.5 + 1e-6);  // a change is the difference of two rounded numbers
      CHECK(largest_step(plan.actions.unsqueeze(1), problem) <= 0.5 + 1e-6);
      if (promise.limits == Promised::yes) CHECK(plan.actions.abs().max().item<double>() <= 2.0);
      CHECK(plan.actions[0].flatten()[5].item<double>() > -0.5);  // it went the right way
    }
  }
  if (promise.pins == Promised::yes) {
    SECTION("pinned values are honoured, against rate limits too") {
      auto problem = quadratic_problem(2, 3);
      problem.pinned = at::full({3, 2}, std::nan(""));
      problem.pinned[1][0] = 0.25;
      auto plan = solve(planner, problem);
      check_well_formed(plan, problem);
      CHECK(plan.actions.select(1, 1).select(1, 0).eq(0.25).all().item<bool>());
      problem.max_step = at::tensor({0.01F, 0.01F});
      problem.previous_action = at::zeros({2, 2});
      plan = solve(planner, problem);
      CHECK(plan.actions.select(1, 1).select(1, 0).eq(0.25).all().item<bool>());
    }
  }
}

inline void check_trouble(const Planner& planner, const PlannerPromise& promise) {
  const auto target = quadratic_target(2, 2, promise.actions);

  SECTION("some candidates cost NaN: they are never chosen") {
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    problem.cost = [target](const Tensor& actions) {
      auto costs = quadratic_cost(target)(actions);
      const auto bad =
          actions.select(2, 0).select(2, 0).gt(target.select(1, 0).select(1, 0).unsqueeze(1) + 0.5);
      costs.total = costs.total.masked_fill(bad, std::nan(""));
      costs.terms.clear();
      return costs;
    };
    const auto plan = solve(planner, problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::ok);
    CHECK(plan.cost.isfinite().all().item<bool>());
  }

  SECTION("one problem whose costs are all NaN does not spoil the other") {
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    problem.cost = [target](const Tensor& actions) {
      auto costs = quadratic_cost(target)(actions);
      const auto poison = at::tensor({0.0F, std::numeric_limits<float>::quiet_NaN()}).unsqueeze(1);
      costs.total = costs.total + poison;
      costs.terms.clear();
      return costs;
    };
    const auto plan = solve(planner, problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::non_finite);
    CHECK(plan.statuses.at(0) == Status::ok);
    CHECK(plan.statuses.at(1) == Status::non_finite);
    CHECK(distance(plan.actions[0], target[0]) < promise.accuracy);
  }

  SECTION("a plan is a failure until proven otherwise") {
    CHECK(Plan().status == Status::not_started);
    CHECK_FALSE(is_usable(Plan().status));
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    for (const double cost : {std::nan(""), HUGE_VAL}) {
      problem.cost = [cost](const Tensor& actions) {
        return Costs{actions.sum({2, 3}) * 0 + cost, {}, {}};
      };
      const auto plan = solve(planner, problem);
      check_well_formed(plan, problem);
      CHECK(plan.status == Status::non_finite);
    }
  }

  SECTION("a throwing or malformed cost function is told by the status") {
    auto problem = quadratic_problem(1, 2, 1.0, promise.actions);
    problem.cost = [](const Tensor&) -> Costs { throw std::runtime_error("wheels fell off"); };
    auto plan = solve(planner, problem);
    CHECK(plan.status == Status::failed);
    CHECK(plan.message.find("wheels fell off") != std::string::npos);
    CHECK(plan.actions.isfinite().all().item<bool>());
    problem.cost = [](const Tensor& actions) { return Costs{actions.sum({2, 3}).sum(1), {}, {}}; };
    plan = solve(planner, problem);
    CHECK(plan.status == Status::failed);
    CHECK(plan.message.find("[B,S]") != std::string::npos);
  }

  SECTION("malformed problems are errors that name the field") {
    const auto refused = [&](auto&& spoil) {
      auto problem = quadratic_problem(1, 2, 1.0, promise.actions);
      spoil(problem);
      return refusal(planner, problem);
    };
    CHECK(refused([](Problem& p) { p.batch = 0; }).find("Problem.batch") != std::string::npos);
    CHECK(refused([](Problem& p) { p.horizon = 0; }).find("Problem.horizon") != std::string::npos);
    CHECK(refused([](Problem& p) { p.cost = nullptr; }).find("Problem.cost") != std::string::npos);
    CHECK(refused([](Problem& p) {
            p.warm_start.mean = at::zeros({1, 2, 5});
          }).find("[1, 2, 5]") != std::string::npos);
  }
}

inline void check_deadlines(const Planner& planner, const PlannerPromise& promise) {
  SECTION("a deadline in the past returns the warm start at once") {
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    problem.warm_start.mean = promise.actions == Actions::discrete
                                  ? quadratic_target(2, 2, promise.actions)
                                  : at::full({2, 2, 2}, 0.5);
    problem.deadline = Problem::Clock::now() - std::chrono::milliseconds(1);
    const auto plan = solve(planner, problem);
    check_well_formed(plan, problem);
    CHECK(plan.status == Status::deadline_reached);
    CHECK(plan.diagnostics.iterations == 0);
    if (promise.actions == Actions::continuous)
      CHECK(at::allclose(plan.actions, problem.warm_start.mean));
  }

  SECTION("no iteration is started that would end after the deadline") {
    // Time passes only while costs are computed: 1 ms a call.
    auto problem = quadratic_problem(2, 2, 1.0, promise.actions);
    const auto start = Problem::Clock::time_point();
    auto now = start;
    problem.now = [&now] { return now; };
    problem.cost = [&now, inner = problem.cost](const Tensor& actions) {
      now += std::chrono::milliseconds(1);
      return inner(actions);
    };
    problem.deadline = start + std::chrono::microseconds(5500);
    const auto plan = solve(planner, problem);
    check_well_formed(plan, problem);
    CHECK(is_usable(plan.status));
    CHECK(plan.diagnostics.iterations >= 1);
    // What a planner still has to know of its answer costs up to two calls.
    CHECK(now - start <= std::chrono::microseconds(7500));
    if (plan.diagnostics.iterations > 5) CHECK(now <= *problem.deadline);
  }
}

}  // namespace conformance

/// Sections that CHECK the contract of planning/planner.hpp.
inline void planner_conformance(const Planner& planner, const PlannerPromise& promise = {}) {
  const bool continuous = promise.actions == Actions::continuous;
  SECTION("finds the minimum of a convex quadratic, for every problem of a batch") {
    conformance::check_minimum(planner, promise, 3, 3);
  }
  SECTION("a horizon of one block is planned like any other") {
    conformance::check_minimum(planner, promise, 2, 1);
  }
  conformance::check_invariance(planner, promise);
  conformance::check_trouble(planner, promise);
  conformance::check_deadlines(planner, promise);
  if (!continuous) return;
  conformance::check_limits(planner, promise);
  if (promise.escape == Promised::yes) {
    SECTION("finds the deeper of two valleys") {
      auto problem = quadratic_problem(2, 1);
      problem.cost = two_valleys();
      const auto plan = conformance::solve(planner, problem);
      CHECK(plan.status == Status::ok);
      CHECK(conformance::distance(plan.actions, at::full({2, 1, 2}, 1.5)) < 0.3);
    }
  }
}

/// Sections for a planner set to a single candidate: a plan all the same.
inline void single_candidate_conformance(const Planner& planner,
                                         Actions actions = Actions::continuous) {
  SECTION("one candidate gives a finite plan") {
    for (const int64_t horizon : {1, 3}) {
      const auto problem = quadratic_problem(2, horizon, 1.0, actions);
      const auto plan = conformance::solve(planner, problem);
      CHECK(plan.status == Status::ok);
      conformance::check_well_formed(plan, problem);
      CHECK(plan.cost.isfinite().all().item<bool>());
    }
  }
}

}  // namespace foresight::testing
