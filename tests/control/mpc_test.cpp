// SPDX-License-Identifier: Apache-2.0
// Control of a point mass: it reaches goals, alone and in batches.
#include "control/mpc_loop_parts.hpp"
#include "error_message.hpp"

namespace foresight::mpc_test {
namespace {

TEST_CASE("Mpc drives a point mass to its goal, whatever the replanning interval") {
  for (const int64_t block : {1, 3})
    for (const int64_t replan : {1, 2, 3, 6}) {
      INFO("block " << block << ", replanning every " << replan << " raw steps");
      const auto model = std::make_shared<PointMass>(block, 0.1);
      Mpc mpc(model, reach(), quick_planner(),
              {.horizon = block == 1 ? 12 : 5, .replan_steps = replan, .seed = 3});
      mpc.set_goal(goal_at(0.5, -0.3));
      auto state = at::zeros({1, 4});
      for (int t = 0; t < 80; ++t) {
        const auto decision = mpc.act(at_state(state));
        REQUIRE(decision.status == Status::ok);
        REQUIRE(admissible(decision, 1));
        CHECK(decision.replanned() == (t % replan == 0));
        state = model->advance(state, decision.action);
      }
      CHECK((state - at::tensor({0.5F, -0.3F, 0.F, 0.F})).abs().max().item<double>() < 0.15);
    }
}

TEST_CASE("Mpc controls a batch, resets problems one by one, and moves single goals") {
  const auto model = std::make_shared<PointMass>(2, 0.1);
  Mpc mpc(model, reach(), quick_planner(), {.batch = 3, .horizon = 6, .replan_steps = 2});
  mpc.set_goal(goal_at(0.5, 0.5, 3));
  mpc.set_goal(goal_at(-0.5, 0.0), {1});
  auto state = at::zeros({3, 4});
  for (int t = 0; t < 90; ++t) {
    if (t == 20) {
      mpc.reset({2});
      state[2].zero_();
    }
    const auto decision = mpc.act(at_state(state));
    REQUIRE(decision.status == Status::ok);
    REQUIRE(admissible(decision, 3));
    state = model->advance(state, decision.action);
  }
  const auto wanted = at::tensor({0.5F, 0.5F, -0.5F, 0.F, 0.5F, 0.5F}).reshape({3, 2});
  CHECK((state.narrow(1, 0, 2) - wanted).abs().max().item<double>() < 0.15);
}

TEST_CASE("a problem of a batch is decided as it would be alone") {
  const auto model = std::make_shared<PointMass>(1, 0.1);
  Mpc together(model, reach(), quick_planner(), {.batch = 2, .horizon = 5, .replan_steps = 2});
  Mpc alone(model, reach(), quick_planner(), {.batch = 1, .horizon = 5, .replan_steps = 2});
  together.set_goal(goal_at(0.3, -0.4, 2));
  alone.set_goal(goal_at(0.3, -0.4));
  auto pair = at::tensor({0.F, 0.F, 0.F, 0.F, 0.2F, 0.1F, 0.F, 0.F}).reshape({2, 4});
  for (int t = 0; t < 12; ++t) {
    const auto both = together.act(at_state(pair)).action;
    const auto one = alone.act(at_state(pair.narrow(0, 1, 1))).action;
    CHECK(at::allclose(both[1], one[0], 1e-5, 1e-6));
    pair = model->advance(pair, both);
  }
}

TEST_CASE("the same seed repeats every decision") {
  const auto model = std::make_shared<PointMass>(2);
  const auto run = [&](int64_t seed) {
    Mpc mpc(model, reach(), quick_planner(), {.horizon = 4, .replan_steps = 1, .seed = seed});
    mpc.set_goal(goal_at(1, 1));
    auto state = at::zeros({1, 4});
    std::vector<Tensor> actions;
    for (int t = 0; t < 8; ++t) {
      actions.push_back(mpc.act(at_state(state)).action);
      state = model->advance(state, actions.back());
    }
    return at::cat(actions);
  };
  CHECK(at::equal(run(5), run(5)));
  CHECK_FALSE(at::equal(run(5), run(6)));
}

TEST_CASE("discrete actions are answered as symbols") {
  // Two symbols per raw action: left or right by one.
  class Walker final : public PointMass {
   public:
    Walker() {
      auto& space = mutable_spec().action;
      space = ActionSpace{};
      space.dim = 3;
      space.block = 2;
      space.discrete = true;
    }
    Transition step(const State& state, const Tensor& action, Noise&) const override {
      const auto moves = at::matmul(action.unflatten(-1, {2, 3}), at::tensor({-1.F, 0.F, 1.F}));
      auto latent = state.at("latent").clone();
      latent.select(-1, 0).add_(moves.sum(-1, true));
      Transition transition;
      transition.next = State(state.batch_dims());
      transition.next.set("latent", latent);
      return transition;
    }
  };
  auto options = categorical_cem();
  options.samples = 64;
  options.elites = 8;
  options.iterations = 8;
  Mpc mpc(std::make_shared<Walker>(), reach().reweight("effort", 0.0),
          std::make_shared<SamplingPlanner>(options),
          {.horizon = 3, .replan_steps = 2, .safe_action = {1}});
  mpc.set_goal(goal_at(4, 0));
  double x = 0;
  for (int t = 0; t < 12; ++t) {
    const auto decision =
        mpc.act(at_state(at::tensor({static_cast<float>(x), 0.F, 0.F, 0.F}).unsqueeze(0)));
    REQUIRE(decision.status == Status::ok);
    REQUIRE(decision.action.sizes() == at::IntArrayRef({1, 1}));
    REQUIRE(decision.action.scalar_type() == at::kLong);
    x += static_cast<double>(decision.action.item<int64_t>()) - 1.0;
  }
  CHECK(x == Approx(4.0));
}

TEST_CASE("options that do not fit the model are refused") {
  const auto model = std::make_shared<PointMass>(2);
  const auto make = [&](MpcOptions options) { Mpc(model, reach(), quick_planner(), options); };
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.batch = 0}); }, "batch"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { make({.horizon = 2, .replan_steps = 5}); },
      "replan_steps", "5", "4"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        make({.safe_action = {1, 2, 3}});
      },
      "safe_action", "3 values"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { Mpc(model, Objective(), quick_planner(), {}); },
      "objective"));
}

}  // namespace
}  // namespace foresight::mpc_test
