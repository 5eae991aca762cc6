// SPDX-License-Identifier: Apache-2.0
// Box and rate limits: inside the candidates, and on whatever leaves.
#include "control/mpc_loop_parts.hpp"
#include "error_message.hpp"
#include "foresight/control/action_limits.hpp"

namespace foresight::mpc_limits_test {
namespace {

TEST_CASE("step limits hold from each action to the next") {
  const auto model = std::make_shared<PointMass>(1);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 4, .replan_steps = 1, .max_step = {0.1, 0.25}});
  mpc.set_goal(goal_at(3, -3));
  auto state = at::zeros({1, 4});
  auto last = mpc.act(at_state(state)).action;
  for (int t = 0; t < 20; ++t) {
    state = model->advance(state, last);
    const auto action = mpc.act(at_state(state)).action;
    const auto change = (action - last).abs()[0];
    CHECK(change[0].item<double>() <= 0.1 + 1e-6);
    CHECK(change[1].item<double>() <= 0.25 + 1e-6);
    last = action;
  }
}

TEST_CASE("limits hold in raw units under normalisation") {
  auto model = std::make_shared<PointMass>(2);
  auto& space = model->mutable_spec().action;
  space.low = {-0.3, 0.1};
  space.high = {0.7, 0.2};
  space.mean = {0.2, 0.15};
  space.std = {0.37, 0.013};
  auto options = lewm_cem();  // no bound of its own
  options.samples = 32;
  options.elites = 4;
  options.iterations = 2;
  Mpc mpc(model, reach(), std::make_shared<SamplingPlanner>(options),
          {.horizon = 3, .replan_steps = 1});
  mpc.set_goal(goal_at(100, 100));
  for (int t = 0; t < 10; ++t) {
    const auto action = mpc.act(at_state(at::zeros({1, 4}))).action.to(at::kDouble)[0];
    CHECK(action[0].item<double>() >= -0.3);
    CHECK(action[0].item<double>() <= 0.7);
    CHECK(action[1].item<double>() >= 0.1);
    CHECK(action[1].item<double>() <= 0.2);
  }
}

// Every step from one raw action to the next that candidates or the given plan take, in raw units.
double largest_step(const Tensor& actions, const Tensor& last, const ActionSpace& space,
                    int64_t dimension) {
  auto raw = space.denormalise(actions).flatten(-3, -2);  // [B,S,H*block,dim]
  auto before = last.view({last.size(0), 1, 1, space.dim}).expand({-1, raw.size(1), 1, -1});
  const auto path = at::cat({before, raw}, 2);
  return path.diff(1, 2).select(-1, dimension).abs().max().item<double>();
}

TEST_CASE("candidates keep the rate limits from the last action on, in raw units") {
  auto model = std::make_shared<PointMass>(2);
  auto& space = model->mutable_spec().action;
  space.mean = {0.2, 0.15};
  space.std = {0.37, 0.013};
  double worst[2] = {0, 0};
  int seen = 0;
  Tensor last;
  auto objective = reach();
  objective.add("watch", 1.0, [&](const Trajectory& trajectory, const Task&) {
    if (last.defined()) {
      ++seen;
      for (const int64_t d : {0, 1})
        worst[d] = std::max(worst[d], largest_step(trajectory.actions, last, space, d));
    }
    return at::zeros({trajectory.actions.size(0), trajectory.actions.size(1)});
  });
  Mpc mpc(model, objective, quick_planner(),
          {.horizon = 3, .replan_steps = 1, .max_step = {0.1, 0.02}});
  mpc.set_goal(goal_at(3, -3));
  auto state = at::zeros({1, 4});
  for (int t = 0; t < 10; ++t) {
    last = mpc.act(at_state(state)).action;
    state = model->advance(state, last);
  }
  CHECK(seen > 20);
  CHECK(worst[0] <= 0.1 + 1e-5);
  CHECK(worst[1] <= 0.02 + 1e-5);
  CHECK(worst[0] > 0.09);  // candidates make use of it
}

TEST_CASE("the rate counts from what was really executed, as far as that is known") {
  const auto model = std::make_shared<PointMass>(1);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 4, .replan_steps = 1, .max_step = {0.1, 0.1}});
  mpc.set_goal(goal_at(3, 3));
  const auto state = at_state(at::zeros({1, 4}));
  const auto first = mpc.act(state).action;
  auto decision = mpc.act(state, at::tensor({-0.5F, std::nanf("")}).view({1, 2}));
  CHECK(decision.action[0][0].item<double>() == Approx(-0.4));
  CHECK((decision.action - first)[0][1].abs().item<double>() <= 0.1 + 1e-7);
  // Reports that make no sense change nothing but are told.
  for (const auto& executed :
       {at::zeros({3}), at::zeros({2, 2}), at::zeros({1, 2}, at::kComplexFloat)}) {
    const auto before = decision.action;
    decision = mpc.act(state, executed);
    CHECK(decision.status == Status::ok);
    CHECK(decision.faults[0] == Fault::executed_rejected);
    CHECK(decision.message.find("executed") != std::string::npos);
    CHECK((decision.action - before).abs().max().item<double>() <= 0.1 + 1e-7);
  }
}

TEST_CASE("the safe action is approached at the allowed rate") {
  const auto model = std::make_shared<PointMass>(1);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 2, .replan_steps = 1, .safe_action = {0.5, -0.5}, .max_step = {0.2, 0.2}});
  mpc.set_goal(goal_at(-3, 3));
  auto last = mpc.act(at_state(at::zeros({1, 4}))).action;
  REQUIRE(last[0][0].item<double>() < -0.5);
  mpc.act(Observation());  // the rest of the plan
  bool reached = false;
  for (int t = 0; t < 10; ++t) {
    const auto before = mpc.act(Observation()).action, now = mpc.act(Observation()).action;
    CHECK((now - before).abs().max().item<double>() <= 0.2 + 1e-7);
    reached = at::equal(now, at::tensor({0.5F, -0.5F}).unsqueeze(0));
  }
  CHECK(reached);
}

TEST_CASE("no rounding lets an action out of its limits") {
  ActionSpace space;
  space.dim = 1;
  space.low = {-0.1};
  space.high = {0.7};
  const ActionLimits limits(space, {0.013});
  // 0.7F > 0.7 and -0.1F < -0.1: the nearest floats lie outside.
  CHECK(static_cast<double>(limits.apply(at::ones({1, 1})).item<float>()) <= 0.7);
  CHECK(static_cast<double>(limits.apply(-at::ones({1, 1})).item<float>()) >= -0.1);
  float previous = 0.0F;
  for (int k = 0; k < 200; ++k) {
    const auto wanted = k < 100 ? 1.0 : -1.0;
    const auto next =
        limits.apply(at::full({1, 1}, wanted), at::full({1, 1}, previous)).item<float>();
    CHECK(std::abs(static_cast<double>(next) - static_cast<double>(previous)) <= 0.013);
    CHECK((next >= -0.1 && next <= 0.7));
    if (k == 80) CHECK(next > 0.69999F);
    previous = next;
  }
}

TEST_CASE("limits make something of anything") {
  ActionSpace space;
  space.dim = 2;
  space.low = {-1, 2};
  space.high = {1, 3};
  const ActionLimits limits(space, {0.5, 0.5});
  const auto apply = [&](float a, float b, float before_a, float before_b) {
    return limits.apply(at::tensor({a, b}).view({1, 2}),
                        at::tensor({before_a, before_b}).view({1, 2}));
  };
  const float nan = std::nanf(""), inf = INFINITY;
  CHECK(at::equal(apply(nan, inf, nan, nan), at::tensor({0.F, 2.F}).view({1, 2})));
  CHECK(at::equal(apply(nan, -inf, 0.25F, 2.5F), at::tensor({0.25F, 2.5F}).view({1, 2})));
  // Moved outside the box: as near as the rate allows, but the box wins.
  CHECK(at::equal(apply(0.F, 2.5F, 1.25F, 9.F), at::tensor({0.75F, 3.F}).view({1, 2})));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { ActionLimits(space, {0.5}); }, "max_step", "1 values"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        ActionLimits(space, {0.5, -1.0});
      },
      "max_step = -1"));
}

}  // namespace
}  // namespace foresight::mpc_limits_test
