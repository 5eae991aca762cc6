// SPDX-License-Identifier: Apache-2.0
// What the asynchronous loop tells its model and planner: histories, goals and a safety monitor.
#include "async_mpc_parts.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight::async_mpc_test {
namespace {

// Remembers the last three observations and the two actions between them, as window models do.
class WindowModel final : public PointMass {
 public:
  WindowModel() { mutable_spec().history = 3; }
  State initial(int64_t batch) const override {
    auto state = PointMass::initial(batch);
    state.set("frames", at::full({batch, 3}, -1.0));
    state.set("blocks", at::full({batch, 2}, -1.0));
    return state;
  }
  State observe(const State& previous, const Tensor& block, const Observation& observation,
                Noise& noise) const override {
    auto state = PointMass::observe(previous, block, observation, noise);
    const auto shifted = [](const Tensor& ring, const Tensor& newest) {
      return at::cat({ring.narrow(1, 1, ring.size(1) - 1), newest}, 1);
    };
    state.set("frames", shifted(previous.at("frames"), observation.at(kProprio).narrow(1, 0, 1)));
    state.set("blocks", block.defined() ? shifted(previous.at("blocks"), block.narrow(1, 0, 1))
                                        : previous.at("blocks"));
    const std::lock_guard lock(mutex_);
    frames_ = state.at("frames").flatten().clone();
    blocks_ = state.at("blocks").flatten().clone();
    return state;
  }
  Tensor frames() const {
    const std::lock_guard lock(mutex_);
    return frames_;
  }
  Tensor blocks() const {
    const std::lock_guard lock(mutex_);
    return blocks_;
  }

 private:
  mutable std::mutex mutex_;
  mutable Tensor frames_, blocks_;
};

bool equals(const Tensor& tensor, const std::vector<double>& expected) {
  return at::allclose(tensor.to(at::kDouble), at::tensor(expected, at::kDouble), 1e-5, 1e-6);
}

TEST_CASE("observations that waited still make up the model's history, gaps start it anew") {
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window}) {
    INFO(enum_name(mode));
    Setup setup;
    const auto model = std::make_shared<WindowModel>();
    setup.model = model;
    setup.mpc.history_mode = mode;
    auto loop = setup.make();
    CHECK(loop.options().kept == 2);
    loop.observe(seen_at(0), 0.0);
    REQUIRE(loop.wait_idle(kPatience));
    const auto first = first_of(loop.action(0.0));
    setup.planner->close();
    loop.observe(seen_at(1), 0.1);
    REQUIRE(setup.planner->wait_entered(2));
    CHECK(equals(model->frames(), {-1, 0, 1}));
    CHECK(equals(model->blocks(), {-1, first}));  // what was answered is what was executed
    std::vector<double> answered;
    for (int step = 2; step <= 4; ++step) {
      answered.push_back(first_of(loop.action(0.1 * (step - 1))));
      loop.observe(seen_at(step), 0.1 * step);
    }
    CHECK(loop.statistics().dropped == 0);
    setup.planner->open();
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(setup.planner->entered() == 3);  // one plan, from the newest
    CHECK(equals(model->frames(), {2, 3, 4}));
    CHECK(equals(model->blocks(), {answered[1], answered[2]}));
    loop.observe(seen_at(6), 0.6);  // step 5 is missing
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(equals(model->frames(), {-1, -1, 6}));
    loop.observe(seen_at(7), 0.7);
    loop.observe(seen_at(7.5), 0.74);  // of the same control step: one of the two is used
    REQUIRE(loop.wait_idle(kPatience));
    CHECK(model->frames()[1].item<double>() == 6);
    CHECK(loop.statistics().dropped == 1);
  }
}

// Cannot make anything of a far goal.
class ShortSighted final : public PointMass {
 public:
  ShortSighted() : PointMass(1, 0.1) {}
  Tensor encode(const Observation& observation, Noise& noise) const override {
    if (observation.at(kProprio).max().item<double>() > 50) throw std::runtime_error("too far");
    return PointMass::encode(observation, noise);
  }
};

TEST_CASE("goals reach the planner in order; bad ones are refused or told") {
  const auto model = std::make_shared<ShortSighted>();
  auto search = icem();
  search.samples = 64;
  search.elites = 8;
  search.iterations = 5;
  search.initial_std = {0.7};
  Objective reach;
  reach.add("goal", 1.0, goal_distance({.steps = Steps::sum}))
      .add("effort", 0.01, control_effort());
  AsyncMpc loop(Mpc(model, reach, std::make_shared<SamplingPlanner>(search),
                    {.horizon = 12, .replan_steps = 1, .seed = 3}),
                {.period = 0.1, .max_age = 0.3});
  loop.observe(seen_at(0), 0.0);
  REQUIRE(loop.wait_idle(kPatience));
  CHECK(loop.action(0.0).message.find("goal") != std::string::npos);  // none yet
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        loop.set_goal(at_state(at::zeros({1, 3})));
      },
      kProprio));
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { loop.set_goal(seen_at(std::nan(""))); }, kProprio));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { loop.set_task("weight", at::zeros({2})); }, "B = 1"));
  const auto goal = at::tensor({0.5F, -0.3F, 0.F, 0.F}).unsqueeze(0);
  loop.set_goal(at_state(goal));
  REQUIRE(loop.wait_idle(kPatience));
  loop.set_goal(seen_at(99));  // only the model can tell; the first stays
  auto state = at::zeros({1, 4});
  for (int step = 1; step <= 80; ++step) {
    loop.observe(at_state(state), 0.1 * step);
    REQUIRE(loop.wait_idle(kPatience));
    const auto decision = loop.action(0.1 * step);
    REQUIRE(decision.status == Status::ok);
    CHECK(decision.message == (step == 1 ? "goal rejected: too far" : "ok"));
    state = model->advance(state, decision.action);
    if (step == 1) loop.set_goal(at_state(goal));
  }
  CHECK((state - goal).abs().max().item<double>() < 0.15);
}

TEST_CASE("a surprised monitor replaces the answers at once and lets go again") {
  for (const auto response : {SafetyResponse::safe_action, SafetyResponse::hold}) {
    INFO(enum_name(response));
    const Setup setup;
    setup.planner->begin_at(0.25);
    SurpriseCalibration exact;  // of a model that is never wrong by more than a hundredth
    exact.transitions = 99;
    exact.levels = {0.99};
    exact.quantiles = {0.01};
    exact.scale = {1, 1, 1, 1};
    Mpc mpc(setup.model, anything(), setup.planner, setup.mpc);
    mpc.watch(std::make_shared<SafetyMonitor>(
        setup.model, exact,
        SafetyMonitorOptions{.raise_after = 1, .clear_after = 2, .response = response}));
    AsyncMpc loop(std::move(mpc), setup.async);
    CHECK(loop.options().kept == 1);  // the transition to the newest observation
    auto state = at::zeros({1, 4});
    std::vector<ActionSource> sources;
    double before = 0, last = 0;
    for (int step = 0; step < 8; ++step) {
      if (step == 3) state = state + 1.0;  // somebody kicked it
      loop.observe(at_state(state), 0.1 * step);
      REQUIRE(loop.wait_idle(kPatience));
      const auto decision = loop.action(0.1 * step);
      sources.push_back(decision.sources[0]);
      CHECK(decision.safety[0].judged() == (step > 0));
      CHECK(decision.safety[0].flagged == (step == 3 || step == 4));
      if (decision.safety[0].flagged) {
        CHECK(decision.faults[0] == Fault::surprised);
        CHECK(decision.status == Status::fell_back);
        CHECK(first_of(decision) == (response == SafetyResponse::hold ? before : -0.5));
      } else {
        before = first_of(decision);
      }
      last = first_of(decision);
      state = setup.model->advance(state, decision.action);
    }
    CHECK(last == 0.25);
    using enum ActionSource;
    const auto instead = response == SafetyResponse::hold ? previous_plan : safe_action;
    CHECK((sources ==
           std::vector<ActionSource>{plan, plan, plan, instead, instead, plan, plan, plan}));
  }
}

}  // namespace
}  // namespace foresight::async_mpc_test
