// SPDX-License-Identifier: Apache-2.0
// Sub-goals: when the next one is due, per problem, and a point mass that follows them.
#include "foresight/control/subgoals.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/control/mpc.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "planning/point_mass.hpp"

namespace foresight::subgoals_test {
namespace {

// Goals and latents of two problems on a line.
Tensor on_line(double a, double b) { return at::tensor({a, b}).to(at::kFloat).view({2, 1, 1}); }

TEST_CASE("a sub-goal is left when it is near, problem by problem, and the last one stays") {
  // l2 is the squared distance: within 0.5 of the goal.
  Subgoals way({on_line(1, 10), on_line(2, 20), on_line(3, 30)}, {.reach_distance = 0.25});
  CHECK(way.count() == 3);
  CHECK(way.goal().equal(on_line(1, 10)));
  CHECK_FALSE(way.update(on_line(0, 0)));
  CHECK(way.update(on_line(0.6, 0)));
  CHECK(way.goal().equal(on_line(2, 10)));
  CHECK_FALSE(way.update(on_line(1, 0)));  // near the first again: it does not go back
  CHECK(way.update(on_line(2.5, 10.5)));
  CHECK(way.goal().equal(on_line(3, 20)));
  CHECK_FALSE(way.finished(0));
  CHECK_FALSE(way.update(on_line(3, 10)));
  CHECK(way.finished(0));
  CHECK(way.index(1) == 1);
  CHECK_FALSE(way.all_finished());
  CHECK_FALSE(way.update(on_line(9, std::nan(""))));  // finished stays finished; NaN is nowhere
  CHECK(way.finished(0));
  CHECK(way.update(on_line(9, 20)));
  CHECK_FALSE(way.update(on_line(9, 30)));
  CHECK(way.all_finished());
  way.reset({1});
  CHECK(way.goal().equal(on_line(3, 10)));
  way.reset();
  CHECK(way.goal().equal(on_line(1, 10)));
  CHECK_FALSE(way.finished(0));
}

TEST_CASE("a sub-goal is left when its time is up") {
  Subgoals timed({on_line(1, 1), on_line(2, 2)}, {.max_steps = 3});
  CHECK_FALSE(timed.update(on_line(1, 1)));
  CHECK_FALSE(timed.update(on_line(1, 1)));
  CHECK(timed.update(on_line(1, 1)));
  CHECK(timed.index(0) == 1);
  CHECK_FALSE(timed.update(on_line(0, 0)));
  CHECK_FALSE(timed.finished(0));
  timed.update(on_line(0, 0));
  timed.update(on_line(0, 0));
  CHECK(timed.all_finished());

  // With both rules the last goal must be reached, however long it takes.
  Subgoals both({on_line(1, 1), on_line(2, 2)}, {.reach_distance = 0.01, .max_steps = 2});
  CHECK(both.update(on_line(1, 0)));
  CHECK(both.index(0) == 1);
  CHECK(both.index(1) == 0);
  for (int i = 0; i < 9; ++i) both.update(on_line(0, 0));
  CHECK(both.index(1) == 1);
  CHECK_FALSE(both.finished(1));
  both.update(on_line(2, 2));
  CHECK(both.all_finished());
}

TEST_CASE("the distance may be one's own") {
  const LatentDistance steps = [](const Tensor& z, const Tensor& g) {
    return (z - g).abs().sum({1, 2}) * 10;
  };
  Subgoals way({on_line(1, 1), on_line(2, 2)}, {.reach_distance = 2}, steps);
  CHECK_FALSE(way.update(on_line(0.7, 0.7)));
  CHECK(way.update(on_line(0.9, 0.7)));
  CHECK(way.index(1) == 0);
}

TEST_CASE("sub-goals that make no sense are refused") {
  const auto refused = [](ErrorCategory category, auto&& make, auto... words) {
    return fails_with(category, make, words...);
  };
  CHECK(refused(
      ErrorCategory::invalid_option, [] { Subgoals({on_line(1, 1)}, {}); }, "reach_distance",
      "max_steps"));
  const SubgoalOptions near{.reach_distance = 1};
  CHECK(refused(
      ErrorCategory::invalid_argument, [&] { Subgoals({}, near); }, "at least one"));
  CHECK(refused(
      ErrorCategory::invalid_argument,
      [&] {
        Subgoals({on_line(1, 1), at::zeros({1, 1, 1})}, near);
      },
      "sub-goal 1"));
  CHECK(refused(
      ErrorCategory::non_finite, [&] { Subgoals({on_line(1, NAN)}, near); }, "sub-goal 0"));
  Subgoals way({on_line(1, 1)}, near);
  CHECK(refused(
      ErrorCategory::invalid_argument,
      [&] {
        way.update(at::zeros({2, 1, 2}));
      },
      "latents"));
  CHECK(refused(
      ErrorCategory::invalid_argument, [&] { way.reset({2}); }, "problem 2"));
}

TEST_CASE("a point mass visits its sub-goals in order") {
  const auto model = std::make_shared<PointMass>(1, 0.1);
  auto options = icem();
  options.samples = 64;
  options.elites = 8;
  options.iterations = 5;
  options.initial_std = {0.7};
  Objective objective;
  objective.add("goal", 1.0, goal_distance({.steps = Steps::sum}));
  objective.add("effort", 0.01, control_effort());
  Mpc mpc(model, objective, std::make_shared<SamplingPlanner>(options),
          {.horizon = 12, .replan_steps = 1});
  const auto corner = [](double x, double y) {
    return at::tensor({x, y, 0.0, 0.0}).to(at::kFloat).view({1, 1, 4});
  };
  // Around a square; at rest at each corner, because the goal holds the velocity as well.
  Subgoals way({corner(1, 0), corner(1, 1), corner(0, 1), corner(0, 0)}, {.reach_distance = 0.05});
  mpc.set_task(kGoal, way.goal());
  PhiloxNoise noise(1);
  auto state = at::zeros({1, 4});
  std::vector<Tensor> reached;
  for (int t = 0; t < 300 && !way.all_finished(); ++t) {
    const Observation seen(kProprio, state);
    if (way.update(model->encode(seen, noise))) {
      reached.push_back(state);
      mpc.set_task(kGoal, way.goal());
    }
    const auto decision = mpc.act(seen);
    REQUIRE(decision.status == Status::ok);
    state = model->advance(state, decision.action);
  }
  CHECK(way.all_finished());
  REQUIRE(reached.size() == 3);
  const std::vector<Tensor> corners{corner(1, 0), corner(1, 1), corner(0, 1)};
  for (std::size_t i = 0; i < 3; ++i)
    CHECK((reached[i] - corners[i].view({1, 4})).square().sum().item<double>() <= 0.05);
}

}  // namespace
}  // namespace foresight::subgoals_test
