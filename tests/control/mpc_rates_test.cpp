// SPDX-License-Identifier: Apache-2.0
// A loop that runs faster than its model: plans become commands, commands become the model's past,
// and warm starts move by fractions of an action.
#include "control/mpc_loop_parts.hpp"
#include "error_message.hpp"

namespace foresight::mpc_rates_test {
namespace {

// Hands out plans; advances warm starts as any planner does.
class ScriptedPlanner final : public Planner {
 public:
  Plan solve(const Problem&, Noise&) const override { return {}; }
};

RecedingHorizon books(int64_t block, double steps_per_action, Interpolation interpolation,
                      int64_t horizon = 4) {
  ActionSpace space;
  space.block = block;
  return {
      {.horizon = horizon, .steps_per_action = steps_per_action, .interpolation = interpolation},
      space,
      1};
}

// u_i = i + 1: the ramp that starts from 0.
Plan ramp(int64_t horizon, int64_t block) {
  Plan plan;
  plan.status = Status::ok;
  plan.actions = at::arange(1, horizon * block + 1, at::kFloat).reshape({1, horizon, block});
  return plan;
}

TEST_CASE("held actions are sent for as long as the model takes them to last") {
  auto horizon = books(1, 4, Interpolation::hold);
  horizon.accept({0}, ramp(4, 1));
  CHECK(horizon.remaining(0) == 16);
  for (int k = 0; k < 16; ++k) CHECK(horizon.next().item<double>() == 1 + k / 4);
  CHECK(horizon.due() == std::vector<int64_t>{0});
}

TEST_CASE("an interpolated ramp is a ramp at the rate of the loop, whatever the ratio") {
  for (const double ratio : {1.0, 2.0, 4.0, 1.5, 2.5}) {
    INFO("ratio " << ratio);
    auto horizon = books(2, ratio, Interpolation::linear);
    horizon.accept({0}, ramp(4, 2), at::zeros({1, 1}));
    const auto queued = horizon.queued().flatten().to(at::kDouble);
    const auto count = static_cast<int64_t>(8 * ratio);
    REQUIRE(queued.numel() == count);
    CHECK(at::allclose(queued, at::arange(1, count + 1, at::kDouble) / ratio, 1e-6, 1e-6));
  }
}

TEST_CASE("without a previous command interpolation starts at the plan's first action") {
  auto horizon = books(1, 4, Interpolation::linear);
  horizon.accept({0}, ramp(4, 1));
  for (int k = 0; k < 4; ++k) CHECK(horizon.next().item<double>() == 1.0);
  CHECK(horizon.next().item<double>() == 1.25);
}

TEST_CASE("a ramp shifted by a quarter step is the ramp a quarter further") {
  for (const auto interpolation : {Interpolation::hold, Interpolation::linear}) {
    auto horizon = books(1, 4, interpolation);
    horizon.accept({0}, ramp(4, 1), at::zeros({1, 1}));
    for (int taken = 1; taken <= 9; ++taken) {
      INFO(taken << " commands of 4 to the action");
      horizon.next();
      const auto warm = horizon.warm_start({0}, ScriptedPlanner()).mean;
      const double shift = taken / 4.0;
      const auto left =
          static_cast<int64_t>(4 - std::ceil(shift));  // actions not touched by the end
      REQUIRE(warm.size(1) >= left);
      for (int64_t i = 0; i < left; ++i)
        CHECK(warm[0][i].item<double>() == Approx(static_cast<double>(i) + 1 + shift));
    }
  }
}

TEST_CASE("what is shifted in at the end of a plan is the planner's tail, in parts") {
  auto options = icem();
  options.tail = Tail::repeat_last;
  const SamplingPlanner repeats(options);
  auto horizon = books(1, 4, Interpolation::hold);
  horizon.accept({0}, ramp(4, 1));
  horizon.next();
  CHECK(at::allclose(horizon.warm_start({0}, repeats).mean.flatten(),
                     at::tensor({1.25F, 2.25F, 3.25F, 4.F})));
  CHECK(at::allclose(horizon.warm_start({0}, ScriptedPlanner()).mean.flatten(),
                     at::tensor({1.25F, 2.25F, 3.25F, 3.F})));  // 3/4 of 4 and 1/4 of nothing
}

TEST_CASE("a fraction of a step blends the end of a plan with the planner's prior") {
  const SamplingPlanner planner({.initial_mean = {0.5}});
  auto single = books(1, 2, Interpolation::hold);
  single.accept({0}, ramp(4, 1));
  single.next();
  CHECK(at::allclose(single.warm_start({0}, planner).mean.flatten(),
                     at::tensor({1.5F, 2.5F, 3.5F, 2.25F})));
  // One whole block and a quarter of the next: 2.5 raw actions.
  auto blocks = books(2, 2, Interpolation::hold);
  blocks.accept({0}, ramp(4, 2));
  for (int k = 0; k < 5; ++k) blocks.next();
  CHECK(at::allclose(blocks.warm_start({0}, planner).mean.flatten(),
                     at::tensor({3.5F, 4.5F, 5.5F, 6.5F, 7.5F, 4.25F, 0.5F, 0.5F})));
}

TEST_CASE("a fraction of a step moves across block borders, and with it what a planner remembers") {
  auto options = icem();
  options.tail = Tail::repeat_last;
  const SamplingPlanner planner(options);
  auto horizon = books(2, 2, Interpolation::linear);
  auto plan = ramp(4, 2);
  plan.warm_start.mean = plan.actions;
  plan.warm_start.memory.emplace_back("elites", plan.actions.unsqueeze(1) * 10);
  plan.warm_start.memory.emplace_back("multipliers", at::full({1, 3}, 7.0));
  horizon.accept({0}, plan, at::zeros({1, 1}));
  for (int k = 0; k < 3; ++k) horizon.next();
  const auto warm = horizon.warm_start({0}, planner);
  const auto expected = at::tensor({2.5F, 3.5F, 4.5F, 5.5F, 6.5F, 7.5F, 8.F, 8.F});
  CHECK(at::allclose(warm.mean.flatten(), expected));
  CHECK(at::allclose(find_term(warm.memory, "elites").flatten(), expected * 10));
  CHECK(at::equal(find_term(warm.memory, "multipliers"), at::full({1, 3}, 7.0)));
}

TEST_CASE("rows that advanced by different fractions are shifted each by its own") {
  ActionSpace space;
  RecedingHorizon horizon({.horizon = 4, .steps_per_action = 4}, space, 2);
  auto plan = ramp(4, 1);
  plan.actions = plan.actions.repeat({2, 1, 1});
  horizon.accept({0, 1}, plan);
  horizon.next({false, true});
  horizon.next();
  const auto warm = horizon.warm_start({0, 1}, ScriptedPlanner()).mean;
  CHECK(warm[0][0].item<double>() == Approx(1.5));
  CHECK(warm[1][0].item<double>() == Approx(1.25));
}

TEST_CASE("the model is told the mean of the commands sent during each of its actions") {
  // Three commands last as long as two actions: the middle one belongs to both.
  auto horizon = books(2, 1.5, Interpolation::hold);
  const auto block = horizon.as_block(at::tensor({3.F, 6.F, 12.F}).view({1, 3, 1}));
  CHECK(at::allclose(block, at::tensor({(3.F + 3.F) / 1.5F, (3.F + 12.F) / 1.5F}).view({1, 2})));
  // Held commands come back as the plan that they were.
  horizon.accept({0}, ramp(4, 2));
  auto whole = books(2, 3, Interpolation::hold);
  whole.accept({0}, ramp(4, 2));
  CHECK(at::allclose(whole.as_block(whole.queued().narrow(1, 0, 6)),
                     at::tensor({1.F, 2.F}).view({1, 2})));
}

TEST_CASE("symbols are held, and the model is told the one sent longest") {
  ActionSpace space;
  space.dim = 3;
  space.discrete = true;
  RecedingHorizon horizon({.horizon = 2, .steps_per_action = 3}, space, 1);
  const auto sent = at::one_hot(at::tensor({2, 1, 1}, at::kLong), 3).to(at::kFloat).unsqueeze(0);
  CHECK(at::equal(horizon.as_block(sent), at::tensor({0.F, 1.F, 0.F}).view({1, 3})));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        RecedingHorizon({.steps_per_action = 2, .interpolation = Interpolation::linear}, space, 1);
      },
      "interpolation", "hold"));
}

TEST_CASE("ratios that leave a block between control steps are refused") {
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { books(1, 1.5, Interpolation::hold); },
      "steps_per_action = 1.5", "whole number"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { books(1, 0.5, Interpolation::hold); },
      "steps_per_action = 0.5", "1"));
}

// Four control steps of a quarter of the model's time make one of its actions.
class QuarterSteps {
 public:
  static constexpr double kModelStep = 0.2;
  std::shared_ptr<PointMass> model = std::make_shared<PointMass>(1, kModelStep);
  PointMass world{1, kModelStep / 4};
  Tensor state = at::zeros({1, 4});
  Mpc mpc;

  explicit QuarterSteps(MpcOptions options) : mpc(model, reach(), quick_planner(), options) {
    mpc.set_goal(goal_at(0.5, -0.3));
  }
  Decision step() {
    auto decision = mpc.act(at_state(state));
    state = world.advance(state, decision.action);
    return decision;
  }
};

TEST_CASE("a loop at four times the model's rate reaches its goal") {
  for (const auto interpolation : {Interpolation::hold, Interpolation::linear})
    for (const int64_t replan : {3, 4}) {
      INFO(enum_name(interpolation) << ", replanning every " << replan << " control steps");
      QuarterSteps loop({.horizon = 10,
                         .replan_steps = replan,
                         .steps_per_action = 4,
                         .interpolation = interpolation,
                         .seed = 2});
      for (int t = 0; t < 200; ++t) {
        const auto decision = loop.step();
        REQUIRE(decision.status == Status::ok);
        REQUIRE(admissible(decision, 1));
        CHECK(decision.replanned() == (t % replan == 0));
      }
      CHECK((loop.state - at::tensor({0.5F, -0.3F, 0.F, 0.F})).abs().max().item<double>() < 0.15);
    }
}

TEST_CASE("interpolated commands are continuous from plan to plan and keep the rate as planned") {
  constexpr double kMost = 0.05;  // per control step
  QuarterSteps loop({.horizon = 8,
                     .replan_steps = 4,
                     .steps_per_action = 4,
                     .interpolation = Interpolation::linear,
                     .max_step = {kMost, kMost}});
  Tensor last, first;
  for (int t = 0; t < 40; ++t) {
    const auto decision = loop.step();
    if (decision.replanned()) {
      // Candidates were held to four steps' worth, so that the last gate has nothing to do.
      first = decision.solved[0].plan.actions[0][0];
      if (last.defined()) CHECK((first - last[0]).abs().max().item<double>() <= 4 * kMost + 1e-6);
    }
    if (t % 4 == 3) CHECK(at::allclose(decision.action[0], first, 1e-5, 1e-6));
    if (last.defined()) CHECK((decision.action - last).abs().max().item<double>() <= kMost + 1e-7);
    last = decision.action;
  }
}

TEST_CASE("upcoming() is what act() goes on to answer") {
  QuarterSteps loop({.horizon = 5,
                     .replan_steps = 20,
                     .steps_per_action = 4,
                     .interpolation = Interpolation::linear,
                     .max_step = {0.07, 0.03}});
  loop.step();
  const auto upcoming = loop.mpc.upcoming();
  REQUIRE(upcoming.sizes() == at::IntArrayRef({1, 19, 2}));
  for (int t = 0; t < 19; ++t) CHECK(at::equal(loop.step().action, upcoming.select(1, t)));
  CHECK(loop.mpc.upcoming().size(1) == 0);
}

}  // namespace
}  // namespace foresight::mpc_rates_test
