// SPDX-License-Identifier: Apache-2.0
// Deadlines, clocks that jump, and warming up. Time is injected, so that it never decides a test.
#include <algorithm>
#include <limits>
#include <set>
#include <string>

#include "control/mpc_loop_parts.hpp"

namespace foresight::mpc_time_test {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;

// CEM that would go on for a long time, and keeps its best candidate.
SamplingOptions patient(int64_t iterations) {
  auto options = lewm_cem();
  options.samples = 16;
  options.elites = 4;
  options.iterations = iterations;
  options.bound = BoundKind::box;
  options.returned = Returned::best_ever;
  return options;
}

// reach(), with something that happens at every evaluation of candidates; it remembers the best.
struct Watched {
  std::function<void()> happens = [] {};
  int evaluations = 0;
  double best = std::numeric_limits<double>::infinity();
  Tensor best_actions;

  Objective objective() {
    Objective watched;
    watched.add("goal", 1.0, [this](const Trajectory& trajectory, const Task& task) {
      happens();
      ++evaluations;
      const auto cost = goal_distance({.steps = Steps::sum})(trajectory, task);
      const auto [least, where] = cost[0].min(0);
      if (least.item<double>() < best) {
        best = least.item<double>();
        best_actions = trajectory.actions[0][where.item<int64_t>()].clone();
      }
      return cost;
    });
    return watched;
  }
};

TEST_CASE("a slow cost leaves time for some iterations: the best plan so far is the answer") {
  ManualClock clock;
  Watched watched;
  watched.happens = [&] { clock.pass(milliseconds(10)); };
  Mpc mpc(std::make_shared<PointMass>(1), watched.objective(),
          std::make_shared<SamplingPlanner>(patient(1000)),
          {.horizon = 3, .replan_steps = 1, .deadline_ms = 35}, clock);
  mpc.set_goal(goal_at(0.5, 0.5));
  for (int t = 0; t < 5; ++t) {
    watched.evaluations = 0;
    watched.best = std::numeric_limits<double>::infinity();
    const auto decision = mpc.act(at_state(at::zeros({1, 4})));
    CHECK(decision.status == Status::deadline_reached);
    CHECK(decision.sources[0] == ActionSource::plan);
    CHECK(decision.faults[0] == Fault::none);
    // At 30 ms a fourth iteration of 10 ms would miss 35 ms.
    CHECK(watched.evaluations == 3);
    CHECK(decision.solved[0].plan.diagnostics.iterations == 3);
    CHECK(decision.total_seconds == Approx(0.030));
    CHECK(decision.plan_seconds == Approx(0.030));
    CHECK(at::equal(decision.solved[0].plan.actions[0], watched.best_actions));
    CHECK(decision.solved[0].plan.cost.item<double>() == Approx(watched.best));
  }
}

TEST_CASE("a deadline with nothing usable: the rest of the last plan, then the safe action") {
  // The model stalls while it takes in the observation: no iteration is possible any more.
  class Staller final : public PointMass {
   public:
    explicit Staller(const ManualClock& clock) : PointMass(1), clock_(clock) {}
    State observe(const State& previous, const Tensor& action, const Observation& observation,
                  Noise& noise) const override {
      clock_.pass(stall);
      return PointMass::observe(previous, action, observation, noise);
    }
    milliseconds stall{0};

   private:
    ManualClock clock_;
  };
  ManualClock clock;
  const auto model = std::make_shared<Staller>(clock);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 3, .replan_steps = 1, .deadline_ms = 20, .safe_action = {0.5, 0.25}}, clock);
  mpc.set_goal(goal_at(1, 1));
  const auto seen = at_state(at::zeros({1, 4}));
  const auto planned = mpc.act(seen).solved[0].plan.actions;
  model->stall = milliseconds(21);
  for (int t = 1; t < 3; ++t) {
    const auto decision = mpc.act(seen);
    CHECK(decision.status == Status::fell_back);
    CHECK(decision.faults[0] == Fault::deadline);
    CHECK(decision.sources[0] == ActionSource::previous_plan);
    CHECK(decision.solved.size() == 1);  // no time for a retry
    CHECK(at::allclose(decision.action[0], planned[0][t]));
  }
  const auto decision = mpc.act(seen);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(decision.faults[0] == Fault::deadline);
  CHECK(at::equal(decision.action, at::tensor({0.5F, 0.25F}).unsqueeze(0)));
  model->stall = milliseconds(0);
  CHECK(mpc.act(seen).status == Status::ok);
}

TEST_CASE("a clock that jumps forwards ends a solve, backwards it does not prolong it") {
  for (const auto jump : {hours(24), hours(-24)}) {
    INFO("jump of " << jump.count() << " hours");
    ManualClock clock;
    Watched watched;
    Mpc mpc(std::make_shared<PointMass>(1), watched.objective(),
            std::make_shared<SamplingPlanner>(patient(6)),
            {.horizon = 3, .replan_steps = 1, .deadline_ms = 50}, clock);
    mpc.set_goal(goal_at(0.5, 0.5));
    watched.happens = [&] {
      if (watched.evaluations == 1) clock.pass(jump);
    };
    auto decision = mpc.act(at_state(at::zeros({1, 4})));
    CHECK(decision.sources[0] == ActionSource::plan);
    CHECK(decision.solved[0].plan.diagnostics.iterations == (jump.count() > 0 ? 2 : 6));
    CHECK(decision.total_seconds >= 0);
    // The next control step counts from its own start.
    watched.evaluations = 2;
    decision = mpc.act(at_state(at::zeros({1, 4})));
    CHECK(decision.status == Status::ok);
    CHECK(decision.solved[0].plan.diagnostics.iterations == 6);
  }
}

TEST_CASE("a clock that throws stops nothing") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
          {.horizon = 3, .deadline_ms = 50},
          []() -> Problem::Clock::time_point { throw std::runtime_error("no time"); });
  mpc.set_goal(goal_at(0.5, 0.5));
  CHECK(mpc.act(at_state(at::zeros({1, 4}))).status == Status::ok);
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

TEST_CASE("the goal of a warm-up without a goal was only lent") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(), {.horizon = 3});
  mpc.warm_up(goal_at(0, 0));
  const auto decision = mpc.act(goal_at(0, 0));
  CHECK(decision.faults[0] == Fault::solve_failed);
  CHECK(decision.message.find("goal") != std::string::npos);
}

// Remembers which shapes it was called with: what a first call has to allocate, compile or choose
// kernels for. Its history holds three observations.
class ShapeCounter final : public PointMass {
 public:
  ShapeCounter(int64_t block, const ManualClock& clock) : PointMass(block), clock_(clock) {
    mutable_spec().history = 3;
  }
  State observe(const State& previous, const Tensor& action, const Observation& observation,
                Noise& noise) const override {
    auto state = PointMass::observe(previous, action, observation, noise);
    meet("observe after " + std::to_string(previous.filled()) + (action.defined() ? "+" : ""),
         observation.at(kProprio));
    return state;
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override {
    meet("rollout after " + std::to_string(state.filled()), actions);
    ++rollouts;
    return PointMass::rollout(state, actions, noise);
  }
  mutable std::set<std::string> met;
  mutable int rollouts = 0;

 private:
  // What is new is slow.
  void meet(const std::string& what, const Tensor& tensor) const {
    if (met.insert(what + " " + shape_string(tensor.sizes())).second)
      clock_.pass(milliseconds(500));
  }
  ManualClock clock_;
};

TEST_CASE("after warming up the first call meets no new shape and works as much as later ones") {
  for (const int64_t block : {1, 2})
    for (const int64_t replan : {1, 2, 3}) {
      INFO("block " << block << ", replanning every " << replan);
      ManualClock clock;
      const auto model = std::make_shared<ShapeCounter>(block, clock);
      Mpc mpc(model, reach(), quick_planner(),
              {.batch = 2, .horizon = 3, .replan_steps = replan, .deadline_ms = 100}, clock);
      const auto seen = at_state(at::zeros({2, 4}));
      const auto last = mpc.warm_up(seen);
      CHECK(last.status == Status::ok);  // no deadline cuts it short, however slow it is
      mpc.set_goal(goal_at(0.3, 0.3, 2));
      const auto met = model->met.size();
      std::vector<int> rollouts;
      for (int t = 0; t < 12; ++t) {
        model->rollouts = 0;
        const auto decision = mpc.act(seen);
        CHECK(decision.status == Status::ok);
        CHECK(decision.total_seconds == 0.0);
        if (decision.replanned()) rollouts.push_back(model->rollouts);
      }
      CHECK(model->met.size() == met);
      REQUIRE(rollouts.size() >= 4);
      CHECK(std::equal(rollouts.begin() + 1, rollouts.end(), rollouts.begin()));
    }
}

}  // namespace
}  // namespace foresight::mpc_time_test
