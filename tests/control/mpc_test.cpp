// SPDX-License-Identifier: Apache-2.0
// Control of a point mass: it reaches goals, and nothing that goes wrong gets past act().
#include "foresight/control/mpc.hpp"

#include <random>
#include <stdexcept>
#include <thread>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "planning/point_mass.hpp"

namespace foresight {
namespace {

std::shared_ptr<const Planner> quick_planner() {
  auto options = icem();
  options.samples = 64;
  options.elites = 8;
  options.iterations = 5;
  options.initial_std = {0.7};
  return std::make_shared<SamplingPlanner>(options);
}

Objective reach() {
  Objective objective;
  objective.add("goal", 1.0, goal_distance({.steps = Steps::sum}))
      .add("effort", 0.01, control_effort());
  return objective;
}

Observation at_state(const Tensor& state) { return {kProprio, state}; }

Observation goal_at(double x, double y, int64_t batch = 1) {
  return at_state(at::tensor({x, y, 0.0, 0.0}).to(at::kFloat).unsqueeze(0).repeat({batch, 1}));
}

bool admissible(const Decision& decision, int64_t batch) {
  return decision.action.defined() && decision.action.sizes() == at::IntArrayRef({batch, 2}) &&
         decision.action.isfinite().all().item<bool>() &&
         decision.action.abs().le(1.0).all().item<bool>();
}

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

TEST_CASE("warming up leaves no trace") {
  const auto model = std::make_shared<PointMass>(2);
  Mpc cold(model, reach(), quick_planner(), {.horizon = 3, .replan_steps = 2});
  Mpc warm(model, reach(), quick_planner(), {.horizon = 3, .replan_steps = 2});
  const auto decision = warm.warm_up(goal_at(0, 0));
  CHECK(decision.replanned());
  cold.set_goal(goal_at(0.4, 0.4));
  warm.set_goal(goal_at(0.4, 0.4));
  auto state = at::zeros({1, 4});
  for (int t = 0; t < 6; ++t) {
    const auto a = cold.act(at_state(state)).action, b = warm.act(at_state(state)).action;
    CHECK(at::equal(a, b));
    state = model->advance(state, a);
  }
}

// Remembers the last three observations and the two blocks between them, as window models do.
class WindowModel final : public PointMass {
 public:
  explicit WindowModel(int64_t block) : PointMass(block) { mutable_spec().history = 3; }
  State initial(int64_t batch) const override {
    auto state = PointMass::initial(batch);
    state.set("frames", at::full({batch, 3}, -1.0));
    state.set("blocks", at::zeros({batch, 2, spec().action.width()}));
    return state;
  }
  State observe(const State& previous, const Tensor& block, const Observation& observation,
                Noise& noise) const override {
    auto state = PointMass::observe(previous, block, observation, noise);
    const auto newest = observation.at(kProprio).narrow(1, 0, 1);
    state.set("frames", at::cat({previous.at("frames").narrow(1, 1, 2), newest}, 1));
    auto blocks = previous.at("blocks");
    if (block.defined()) blocks = at::cat({blocks.narrow(1, 1, 1), block.unsqueeze(1)}, 1);
    state.set("blocks", blocks);
    seen.push_back(state);
    return state;
  }
  mutable std::vector<State> seen;
};

// What the model must have seen at raw step t: frames t, t-block, t-2*block and the actions
// between.
void check_window(const State& state, int64_t t, int64_t block,
                  const std::vector<Tensor>& actions) {
  const auto frames = state.at("frames")[0], blocks = state.at("blocks")[0];
  for (int64_t k = 0; k < 3; ++k) {
    const auto when = t - (2 - k) * block;
    CHECK(frames[k].item<double>() == (when >= 0 ? static_cast<double>(when) : -1.0));
  }
  for (int64_t k = 0; k < 2; ++k) {
    const auto from = t - (2 - k) * block;
    if (from < 0) continue;
    std::vector<Tensor> expected(actions.begin() + from, actions.begin() + from + block);
    CHECK(at::allclose(blocks[k], at::cat(expected, 1)[0]));
  }
}

TEST_CASE("histories advance in blocks on every phase that replanning meets") {
  constexpr int64_t kBlock = 3;
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window})
    for (const int64_t replan : {1, 2, 3, 6}) {
      INFO("mode " << enum_name(mode) << ", replanning every " << replan);
      const auto model = std::make_shared<WindowModel>(kBlock);
      Mpc mpc(model, reach(), quick_planner(),
              {.horizon = 3, .replan_steps = replan, .history_mode = mode});
      mpc.set_goal(goal_at(0, 0));
      std::vector<Tensor> actions;
      for (int64_t t = 0; t < 20; ++t) {
        model->seen.clear();
        const auto decision =
            mpc.act(at_state(at::tensor({static_cast<float>(t), 0.F, 0.F, 0.F}).unsqueeze(0)));
        REQUIRE(decision.status == Status::ok);
        if (decision.replanned()) {
          REQUIRE_FALSE(model->seen.empty());
          check_window(model->seen.back(), t, kBlock, actions);
          CHECK(model->seen.back().filled() == std::min<int64_t>(3, 1 + t / kBlock));
        }
        actions.push_back(decision.action);
      }
    }
}

TEST_CASE("actions reported as executed are what the history holds") {
  const auto model = std::make_shared<WindowModel>(1);
  Mpc mpc(model, reach(), quick_planner(), {.horizon = 3, .replan_steps = 1});
  mpc.set_goal(goal_at(0, 0));
  mpc.act(at_state(at::zeros({1, 4})));
  mpc.act(at_state(at::zeros({1, 4})), at::full({1, 2}, 0.125));
  CHECK(model->seen.back().at("blocks")[0][1].eq(0.125).all().item<bool>());
}

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

// A planner that fails on command.
class MoodyPlanner final : public Planner {
 public:
  explicit MoodyPlanner(std::shared_ptr<const Planner> inner) : inner_(std::move(inner)) {}
  Plan solve(const Problem& problem, Noise& noise) const override {
    ++calls;
    warm.push_back(problem.warm_start.mean.defined());
    if (mood == Mood::throws) throw std::runtime_error("planner is moody");
    auto plan = inner_->solve(problem, noise);
    if (mood == Mood::lies) plan.actions = plan.actions * std::nan("");
    if (mood == Mood::shrinks) plan.actions = plan.actions.narrow(1, 0, 1);
    if (mood == Mood::refuses) {
      plan.status = Status::non_finite;
      plan.statuses.assign(plan.statuses.size(), Status::non_finite);
    }
    return plan;
  }
  enum class Mood { good, throws, lies, shrinks, refuses };
  mutable Mood mood = Mood::good;
  mutable int calls = 0;
  mutable std::vector<bool> warm;

 private:
  std::shared_ptr<const Planner> inner_;
};

TEST_CASE("the ladder: retry without warm start, rest of the last plan, safe action, recovery") {
  using Mood = MoodyPlanner::Mood;
  for (const auto mood : {Mood::throws, Mood::lies, Mood::shrinks, Mood::refuses}) {
    const auto planner = std::make_shared<MoodyPlanner>(quick_planner());
    Mpc mpc(std::make_shared<PointMass>(1), reach(), planner,
            {.horizon = 4, .replan_steps = 1, .safe_action = {0.25, -0.5}});
    mpc.set_goal(goal_at(1, 1));
    const auto state = at_state(at::zeros({1, 4}));
    const auto first = mpc.act(state);
    REQUIRE(first.status == Status::ok);
    const auto planned = first.solved[0].plan.actions;

    planner->mood = mood;
    planner->calls = 0;
    planner->warm.clear();
    auto decision = mpc.act(state);
    CHECK(planner->calls == 2);
    CHECK((planner->warm == std::vector<bool>{true, false}));
    CHECK_FALSE(is_usable(decision.status));
    CHECK(decision.sources[0] == ActionSource::previous_plan);
    CHECK(at::allclose(decision.action[0], planned[0][1]));
    CHECK(decision.message.size() > 10);
    mpc.act(state);
    decision = mpc.act(state);
    CHECK(at::allclose(decision.action[0], planned[0][3]));
    decision = mpc.act(state);
    CHECK(decision.sources[0] == ActionSource::safe_action);
    CHECK(at::equal(decision.action, at::tensor({0.25F, -0.5F}).unsqueeze(0)));

    planner->mood = Mood::good;
    decision = mpc.act(state);
    CHECK(decision.status == Status::ok);
    CHECK(decision.sources[0] == ActionSource::plan);
  }
}

TEST_CASE("without a goal Mpc falls back and says why") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(), {.horizon = 3});
  const auto decision = mpc.act(at_state(at::zeros({1, 4})));
  CHECK(decision.status == Status::failed);
  CHECK(decision.message.find("goal") != std::string::npos);
  CHECK(decision.sources[0] == ActionSource::safe_action);
}

TEST_CASE("one blind robot does not stop the others") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
          {.batch = 2, .horizon = 4, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1, 2));
  auto state = at::zeros({2, 4});
  mpc.act(at_state(state));
  state[1][2] = std::nan("");
  const auto decision = mpc.act(at_state(state));
  CHECK(decision.statuses[0] == Status::ok);
  CHECK(decision.statuses[1] == Status::invalid_input);
  CHECK(decision.sources[0] == ActionSource::plan);
  CHECK(decision.sources[1] == ActionSource::previous_plan);
  CHECK(admissible(decision, 2));
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

// Fails in every way that a learned model can, at random.
class FaultyModel final : public PointMass {
 public:
  explicit FaultyModel(int64_t block) : PointMass(block, 0.1) {}
  State observe(const State& previous, const Tensor& action, const Observation& observation,
                Noise& noise) const override {
    if (fault == 1) throw std::runtime_error("encoder fault");
    auto state = PointMass::observe(previous, action, observation, noise);
    if (fault == 2) state.set("latent", state.at("latent") * std::nan(""));
    return state;
  }
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    if (fault == 3) throw std::runtime_error("dynamics fault");
    auto transition = PointMass::step(state, action, noise);
    if (fault == 4) transition.next.set("latent", transition.next.at("latent") / 0.0);
    if (fault == 5) throw 42;  // not even an exception object
    if (fault == 6) std::this_thread::sleep_for(std::chrono::milliseconds(3));
    if (fault == 7) transition.next.set("latent", transition.next.at("latent").narrow(-1, 0, 1));
    return transition;
  }
  mutable int fault = 0;
};

TEST_CASE("thousands of faults of every kind: always a finite action within the limits") {
  const auto model = std::make_shared<FaultyModel>(2);
  auto options = icem();
  options.samples = 12;
  options.elites = 3;
  options.iterations = 2;
  Mpc incremental(model, reach(), std::make_shared<SamplingPlanner>(options),
                  {.batch = 2, .horizon = 3, .replan_steps = 1, .deadline_ms = 30});
  Mpc window(model, reach(), std::make_shared<SamplingPlanner>(options),
             {.batch = 2,
              .horizon = 3,
              .replan_steps = 4,
              .history_mode = HistoryMode::window,
              .history = 3,
              .deadline_ms = 30});
  std::mt19937 random(17);
  const auto chance = [&](double p) { return std::uniform_real_distribution<>(0, 1)(random) < p; };
  for (auto* mpc : {&incremental, &window}) {
    mpc->set_goal(goal_at(0.5, 0.5, 2));
    auto state = at::zeros({2, 4});
    int usable = 0, steps = 2000;
    for (int t = 0; t < steps; ++t) {
      model->fault = chance(0.3) ? static_cast<int>(random() % 8) : 0;
      if (model->fault == 6 && !chance(0.1)) model->fault = 0;  // sleeping is slow to test
      auto seen = state.clone();
      if (chance(0.05))
        seen[static_cast<int64_t>(random() % 2)][static_cast<int64_t>(random() % 4)] =
            chance(0.5) ? std::nan("") : INFINITY;
      Observation observation = at_state(seen);
      if (chance(0.02)) observation = at_state(at::zeros({2, 3}));
      if (chance(0.02)) observation = at_state(at::zeros({1, 4}));
      if (chance(0.02)) observation = Observation("camera", at::zeros({2, 4}));
      if (chance(0.02)) observation = Observation();
      if (chance(0.02)) observation = at_state(seen.to(at::kDouble));
      if (chance(0.02)) mpc->reset({static_cast<int64_t>(random() % 2)});
      if (chance(0.05)) {
        try {
          mpc->set_goal(goal_at(chance(0.1) ? std::nan("") : 0.5, -0.5),
                        {static_cast<int64_t>(random() % 2)});
        } catch (...) {  // a faulty encoder or a NaN goal: the old goal stays
        }
      }
      Tensor executed;
      if (chance(0.05)) executed = chance(0.5) ? at::full({2, 2}, std::nan("")) : at::zeros({7});
      Decision decision;
      REQUIRE_NOTHROW(decision = mpc->act(observation, executed));
      REQUIRE(admissible(decision, 2));
      REQUIRE(decision.statuses.size() == 2);
      REQUIRE_FALSE(decision.message.empty());
      REQUIRE(decision.total_seconds < 1.0);
      usable += is_usable(decision.status);
      state = model->advance(state, decision.action).clamp(-5.0, 5.0);
    }
    CHECK(usable > steps / 4);  // it keeps recovering
    CHECK(usable < steps);
    model->fault = 0;
    CHECK(mpc->act(at_state(state)).statuses.size() == 2);
    CHECK(mpc->act(at_state(state)).status == Status::ok);
  }
}

TEST_CASE("a deadline bounds act() with a slow model") {
  const auto model = std::make_shared<FaultyModel>(1);
  auto options = lewm_cem();
  options.samples = 16;
  options.elites = 4;
  options.iterations = 1000;
  options.bound = BoundKind::box;
  Mpc mpc(model, reach(), std::make_shared<SamplingPlanner>(options),
          {.horizon = 2, .replan_steps = 1, .deadline_ms = 60});
  mpc.set_goal(goal_at(0.5, 0.5));
  model->fault = 6;
  for (int t = 0; t < 5; ++t) {
    const auto decision = mpc.act(at_state(at::zeros({1, 4})));
    CHECK(decision.status == Status::deadline_reached);
    CHECK(decision.sources[0] == ActionSource::plan);
    CHECK(decision.solved[0].plan.diagnostics.iterations > 0);
    CHECK(decision.total_seconds < 0.2);
  }
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
}  // namespace foresight
