// SPDX-License-Identifier: Apache-2.0
// What a plan says of itself is said of the actions that it holds, also where time runs out.
#include <chrono>

#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/refined_planner.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "planner_conformance.hpp"

namespace foresight::honest_answers_test {
namespace {

using std::chrono::milliseconds;
using testing::quadratic_problem;

Plan answer_of(const Planner& planner, const Problem& problem) {
  PhiloxNoise noise(1);
  return planner.solve(problem, noise);
}

// Minima at -1 and 1 with the middle forbidden: elites on both sides, their mean between them.
Problem around_an_obstacle() {
  Problem problem;
  problem.cost = [](const Tensor& actions) {
    const auto distance = actions.abs().sum({2, 3});
    Costs costs;
    costs.total = (distance - 1).square();
    costs.terms.emplace_back("valleys", costs.total);
    costs.constraint = (0.5 - distance).unsqueeze(2);
    return costs;
  };
  return problem;
}

SamplingOptions one_iteration() {
  auto options = lewm_cem();
  options.mean_candidate = MeanCandidate::never;
  options.iterations = 1;
  return options;
}

void check_kept(const Plan& plan, const Problem& problem) {
  INFO(plan.message << ", action " << plan.actions.item<double>());
  CHECK(std::abs(plan.actions.item<double>()) >= 0.5);
  const auto own = problem.cost(plan.actions.unsqueeze(1));
  REQUIRE(plan.constraint.defined());
  CHECK(plan.constraint.item<float>() == own.constraint.item<float>());
  CHECK(plan.cost.item<float>() == own.total.item<float>());
  REQUIRE(plan.terms.size() == 1);
  CHECK(plan.terms.front().second.item<float>() == own.total.item<float>());
}

TEST_CASE("with no time to check its mean, a search around an obstacle answers a checked plan") {
  auto problem = around_an_obstacle();
  auto now = Problem::Clock::time_point();
  problem.now = [&now] { return now; };
  problem.deadline = now + milliseconds(5);
  problem.cost = [&now, inner = problem.cost](const Tensor& actions) {
    now += milliseconds(10);  // the first iteration is longer than the deadline
    return inner(actions);
  };
  auto options = one_iteration();
  options.iterations = 30;
  const auto plan = answer_of(SamplingPlanner(options), problem);
  CHECK(plan.status == Status::deadline_reached);
  CHECK(plan.diagnostics.iterations == 1);
  check_kept(plan, problem);
}

TEST_CASE("a search that is not to check its mean answers a checked plan under constraints") {
  const auto problem = around_an_obstacle();
  auto options = one_iteration();
  options.evaluate_result = false;
  const auto plan = answer_of(SamplingPlanner(options), problem);
  CHECK(plan.status == Status::ok);
  check_kept(plan, problem);
}

TEST_CASE("exploration is in the cost that is told, whichever candidate it starts from") {
  const auto problem = quadratic_problem(2, 3);
  for (const auto returned : {Returned::best_ever, Returned::best_last, Returned::mean}) {
    INFO(enum_name(returned));
    auto options = one_iteration();
    options.samples = 64;
    options.returned = returned;
    options.exploration = 1.0;
    const auto plan = answer_of(SamplingPlanner(options), problem);
    const auto own = problem.cost(plan.actions.unsqueeze(1)).total.squeeze(1);
    CHECK(at::allclose(plan.cost, own));
    CHECK(at::allclose(plan.terms.front().second, own));
  }
}

TEST_CASE("a candidate whose cost is no number keeps no constraint") {
  // What keeps the constraint (x > 0) has no cost; the rest breaks it, at a cost that is known.
  Problem problem;
  problem.cost = [](const Tensor& actions) {
    const auto x = actions.flatten(2).squeeze(2);
    Costs costs;
    costs.total = at::where(x.gt(0), at::full_like(x, std::nan("")), x.square());
    costs.constraint = (-x).unsqueeze(2);
    return costs;
  };
  auto options = one_iteration();
  options.iterations = 3;
  for (const auto returned : {Returned::best_ever, Returned::best_last}) {
    options.returned = returned;
    const auto plan = answer_of(SamplingPlanner(options), problem);
    INFO(plan.message);
    CHECK(plan.status == Status::infeasible);
    CHECK(plan.actions.item<double>() <= 0);
    CHECK(std::isfinite(plan.cost.item<double>()));
  }
}

// A problem in whose time every cost call takes a millisecond, the first `first` of them.
Problem timed(std::shared_ptr<Problem::Clock::time_point> now, milliseconds first,
              milliseconds deadline, testing::Actions actions = testing::Actions::continuous) {
  auto problem = quadratic_problem(1, 2, 1.0, actions);
  problem.now = [now] { return *now; };
  problem.deadline = *now + deadline;
  problem.cost = [now, calls = std::make_shared<int>(0), first,
                  inner = problem.cost](const Tensor& candidates) {
    *now += (*calls)++ == 0 ? first : milliseconds(1);
    return inner(candidates);
  };
  return problem;
}

TEST_CASE("gradient planners leave time for the evaluation of their answer") {
  // Only cost calls take time here, a millisecond each: all of a step is forward.
  const auto start = Problem::Clock::time_point();
  for (const int deadline : {4, 5, 10, 11}) {
    INFO("deadline " << deadline);
    auto now = std::make_shared<Problem::Clock::time_point>(start);
    auto plan = answer_of(GradientPlanner({.iterations = 100}),
                          timed(now, milliseconds(1), milliseconds(deadline)));
    CHECK(plan.status == Status::deadline_reached);
    CHECK(plan.diagnostics.iterations == deadline - 2);  // one call evaluates, one is to spare
    CHECK(*now - start <= milliseconds(deadline));

    *now = start;
    auto options = pgd();
    options.iterations = 100;
    plan = answer_of(GradientPlanner(options), timed(now, milliseconds(1), milliseconds(deadline),
                                                     testing::Actions::discrete));
    CHECK(plan.status == Status::deadline_reached);
    CHECK(*now - start <= milliseconds(deadline));

    *now = start;
    plan = answer_of(LagrangianPlanner({.inner = {.iterations = 2}, .outer_iterations = 50}),
                     timed(now, milliseconds(1), milliseconds(deadline)));
    CHECK(plan.status == Status::deadline_reached);
    CHECK(*now - start <= milliseconds(deadline));
  }
}

RefinedOptions brief_search() {
  RefinedOptions options{.search = lewm_cem()};
  options.search.samples = 64;
  options.search.elites = 8;
  options.search.iterations = 4;
  options.polish.iterations = 1000;
  options.search_share = 0.3;
  return options;
}

TEST_CASE("a search that overshoots its share is polished in the time that is left") {
  auto now = std::make_shared<Problem::Clock::time_point>();
  const auto problem = timed(now, milliseconds(28), milliseconds(40));
  const auto plan = answer_of(RefinedPlanner(brief_search()), problem);
  INFO(plan.message);
  CHECK(plan.status == Status::deadline_reached);
  CHECK(plan.diagnostics.iterations >= 8);  // one of the search, the others of the polish
  const auto own = problem.cost(plan.actions.unsqueeze(1)).total.squeeze(1);
  CHECK(at::allclose(plan.cost, own));
}

TEST_CASE("refinement carries as many elites as its search is told to") {
  for (const int64_t carried : {0, 2}) {
    auto options = brief_search();
    options.polish.iterations = 3;
    options.search.carried_elites = carried;
    const auto plan = answer_of(RefinedPlanner(options), quadratic_problem(1, 2));
    const auto elites = find_term(plan.warm_start.memory, "elites");
    REQUIRE(elites.defined() == (carried > 0));
    if (carried > 0) CHECK(elites.size(1) == carried);
  }
}

}  // namespace
}  // namespace foresight::honest_answers_test
