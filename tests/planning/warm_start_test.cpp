// SPDX-License-Identifier: Apache-2.0
// Plans shifted by what was executed.
#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "planner_conformance.hpp"

namespace foresight::warm_start_test {
namespace {

TEST_CASE("a plan is advanced by raw actions across block borders") {
  const auto plan =
      at::arange(12, at::kFloat).reshape({1, 3, 4});  // blocks of 2 raw actions of dim 2
  CHECK(at::equal(advance_plan(plan, {2}, 2, Tail::prior), plan.narrow(1, 1, 2)));
  CHECK_FALSE(advance_plan(plan, {6}, 2, Tail::prior).defined());
  CHECK(at::equal(advance_plan(plan, {1}, 2, Tail::repeat_last).flatten(),
                  at::tensor({2.F, 3.F, 4.F, 5.F, 6.F, 7.F, 8.F, 9.F, 10.F, 11.F, 10.F, 11.F})));
  CHECK(at::equal(advance_plan(plan, {3}, 2, Tail::prior).flatten(),
                  at::tensor({6.F, 7.F, 8.F, 9.F, 10.F, 11.F, 0.F, 0.F, 0.F, 0.F, 0.F, 0.F})));
  const auto two = at::cat({plan, plan + 100});
  const auto mixed = advance_plan(two, {0, 4}, 2, Tail::prior);
  CHECK(at::equal(mixed[0], plan[0]));
  CHECK(at::equal(mixed[1].flatten().narrow(0, 0, 4), at::tensor({108.F, 109.F, 110.F, 111.F})));
  CHECK(mixed[1].flatten().narrow(0, 4, 8).eq(0).all().item<bool>());
}

TEST_CASE("what is shifted in is the prior mean, also behind blocks that were executed in part") {
  const auto plan = at::arange(12, at::kFloat).reshape({1, 3, 4}) + 1;  // blocks of 2, dim 2
  const std::vector<double> prior{0.5, -0.25};
  const SamplingPlanner sampling({.initial_mean = prior});
  const CmaEsPlanner evolution({.initial_mean = prior});
  for (const Planner* planner :
       {static_cast<const Planner*>(&sampling), static_cast<const Planner*>(&evolution)}) {
    const auto moved = planner->advance({plan, {}}, {3}, 2).mean;
    CHECK(at::equal(moved.flatten(), at::tensor({7.F, 8.F, 9.F, 10.F, 11.F, 12.F, 0.5F, -0.25F,
                                                 0.5F, -0.25F, 0.5F, -0.25F})));
    const auto mixed = planner->advance({at::cat({plan, plan}), {}}, {0, 4}, 2).mean;
    CHECK(at::equal(mixed[0], plan[0]));
    CHECK(at::equal(mixed[1].flatten().narrow(0, 4, 4), at::tensor({0.5F, -0.25F, 0.5F, -0.25F})));
    // Whole blocks leave the end to the next search.
    CHECK(at::equal(planner->advance({plan, {}}, {2}, 2).mean, plan.narrow(1, 1, 2)));
  }
}

TEST_CASE("beyond the end of its plan a problem starts anew, whatever the others carry over") {
  auto options = icem();
  options.samples = 24;
  options.elites = 6;
  options.iterations = 2;
  options.initial_mean = {0.25};
  options.returned = Returned::best_ever;
  for (const auto tail : {Tail::prior, Tail::repeat_last}) {
    INFO(enum_name(tail));
    options.tail = tail;
    const SamplingPlanner planner(options);
    auto problem = testing::quadratic_problem(2, 3);
    PhiloxNoise first(1), second(2), fresh(2);
    const auto plan = planner.solve(problem, first);
    REQUIRE(find_term(plan.warm_start.memory, "elites").defined());
    const auto without = planner.solve(problem, fresh);
    problem.warm_start = planner.advance(plan.warm_start, {1, 4}, 1);
    const auto with = planner.solve(problem, second);
    CHECK(at::equal(with.actions[1], without.actions[1]));
    CHECK_FALSE(at::equal(with.actions[0], without.actions[0]));
    CHECK(with.diagnostics.non_finite.eq(0).all().item<bool>());
  }
  // A multiplier belongs to the plan that it was found with.
  const WarmStart left{at::ones({2, 3, 1}), {{"multipliers", at::full({2, 2}, 7.0)}}};
  const auto next = LagrangianPlanner().advance(left, {3, 4}, 1);
  CHECK(at::equal(find_term(next.memory, "multipliers"),
                  at::tensor({7.0, 7.0, 0.0, 0.0}).reshape({2, 2}).to(at::kFloat)));
}

}  // namespace
}  // namespace foresight::warm_start_test
