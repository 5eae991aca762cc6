// SPDX-License-Identifier: Apache-2.0
// The whole chain without a learned model: a model that knows the free motion of TwoRoom, CEM, the
// control loop, the evaluation.
#include "foresight/eval/mpc_policy.hpp"

#include <cmath>
#include <memory>

#include "catch.hpp"
#include "envs/recordings.hpp"
#include "error_message.hpp"
#include "foresight/core/error.hpp"
#include "foresight/envs/registry.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

namespace foresight::eval::mpc_policy_test {
namespace {

constexpr int64_t kBlock = 5;

// Position in hundreds of pixels, moved by 5 px per raw action; knows no walls.
class FreeMotion final : public WorldModel {
 public:
  FreeMotion() {
    spec_.family = "free_motion";
    spec_.observation = {{std::string(kProprio), {2}}};
    spec_.action.dim = 2;
    spec_.action.block = kBlock;
    spec_.action.low = {-1, -1};
    spec_.action.high = {1, 1};
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    State state(1);
    state.set("latent", at::zeros({batch, 1, 2}));
    return state;
  }
  State observe(const State& previous, const Tensor&, const Observation& seen,
                Noise&) const override {
    State state(1);
    state.set("latent", seen.at(kProprio).unsqueeze(1) / 100);
    state.set_filled(std::min<int64_t>(previous.filled() + 1, spec_.history));
    return state;
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    auto shape = action.sizes().vec();
    shape.back() = kBlock;
    shape.push_back(2);
    const auto moved = action.reshape(shape).clamp(-1, 1).sum(-2) * 0.05;
    State next(state.batch_dims());
    next.set("latent", state.at("latent") + moved.unsqueeze(-2));
    next.set_filled(state.filled());
    return {next, {}, {}};
  }

 private:
  ModelSpec spec_;
};

std::unique_ptr<Mpc> control_loop(int64_t batch) {
  Objective objective;
  objective.add("goal", 1.0, goal_distance({.steps = Steps::sum}));
  SamplingOptions search;
  search.samples = 64;
  search.elites = 8;
  search.iterations = 4;
  search.bound = BoundKind::box;
  MpcOptions options;
  options.batch = batch;
  options.horizon = 3;
  options.replan_steps = 5;
  return std::make_unique<Mpc>(std::make_shared<FreeMotion>(), std::move(objective),
                               std::make_shared<SamplingPlanner>(search), options);
}

}  // namespace

TEST_CASE("Planning with a model of free motion solves the problems within one room") {
  const auto protocol =
      read_planning_protocol(test::recordings() / "tworoom/eval_instances.json", "code_25_50");
  MpcEvalPolicy policy(control_loop, "free motion");
  const auto report = evaluate_planning(policy, [] { return envs::make_env("two_room"); }, protocol,
                                        nullptr, {.batch = 20});
  CHECK(report.fallbacks == 0);
  CHECK(report.records.size() == 50);
  int64_t same_room = 0, solved = 0;
  for (const auto& record : report.records) {
    if ((record.instance.start_state[0] < 112) != (record.instance.goal_state[0] < 112)) continue;
    ++same_room;
    solved += record.success;
  }
  CHECK(same_room == 35);
  CHECK(solved == 35);
  CHECK(report.seconds_per_problem.count > 3);  // replanned every five steps
  CHECK(report.seconds_per_problem.median > 0);
}

TEST_CASE("A loop that cannot read its observations is reported as such, not as a bad planner") {
  PlanningProtocol protocol{"one", 5, 4, {{0, 0, 5, {50, 100}, {90, 100}}}};
  class Blinded final : public EvalPolicy {
   public:
    std::string name() const override { return "blinded"; }
    void begin(const EvalProblems& problems) override { inner_.begin(problems); }
    EvalActions act(const Observation& seen, const Tensor& active) override {
      return inner_.act(Observation(kPixels, seen.at(kPixels)), active);  // no proprio
    }

   private:
    MpcEvalPolicy inner_{control_loop, "inner"};
  } policy;
  const auto report = evaluate_planning(
      policy, [] { return envs::make_env("two_room"); }, protocol, nullptr);
  CHECK(report.fallbacks == 4);
  CHECK_FALSE(report.fallback_message.empty());
  CHECK(summary(report).find("without a usable plan") != std::string::npos);
}

TEST_CASE("The control loop must have the batch that was asked for") {
  PlanningProtocol protocol{"one", 5, 4, {{0, 0, 5, {50, 100}, {90, 100}}}};
  MpcEvalPolicy policy([](int64_t batch) { return control_loop(batch + 1); }, "wrong");
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        evaluate_planning(
            policy, [] { return envs::make_env("two_room"); }, protocol, nullptr);
      },
      "batch 1"));
  CHECK_THROWS_AS(MpcEvalPolicy(nullptr, "none"), Error);
}

}  // namespace foresight::eval::mpc_policy_test
