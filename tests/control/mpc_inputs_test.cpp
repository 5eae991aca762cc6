// SPDX-License-Identifier: Apache-2.0
// What a controller is given beside observations: modes of the calling thread, task fields, pinned
// values, proposed plans, and planners that return what they should not.
#include <c10/core/InferenceMode.h>

#include <mutex>

#include "control/async_mpc_parts.hpp"
#include "control/mpc_loop_parts.hpp"
#include "error_message.hpp"
#include "foresight/planning/gradient_planner.hpp"

namespace foresight::mpc_inputs_test {
namespace {

const Observation& origin() {
  static const Observation seen = goal_at(0, 0);
  return seen;
}

// Answers zeros and remembers the problems that it was asked.
class Recorder final : public Planner {
 public:
  Plan solve(const Problem& problem, Noise&) const override {
    asked.push_back(problem);
    Plan plan;
    plan.status = Status::ok;
    plan.statuses.assign(static_cast<std::size_t>(problem.batch), Status::ok);
    plan.actions = at::full({problem.batch, problem.horizon, problem.width()},
                            static_cast<double>(asked.size()) / 10);
    plan.diagnostics.iterations = 1;
    if (problem.batch == spoilt) plan.warm_start.memory.emplace_back("notes", at::ones({7, 1}));
    return plan;
  }
  mutable std::vector<Problem> asked;
  int64_t spoilt = 0;  // batch for which the warm start does not fit
};

TEST_CASE("a controller made and used in inference mode goes on outside it, and the reverse") {
  const auto controller = [] {
    Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
            {.batch = 2, .horizon = 5, .replan_steps = 1});
    mpc.set_goal(goal_at(0.5, 0.5, 2));
    mpc.warm_up(goal_at(0, 0, 2));
    return mpc;
  };
  const auto seen = goal_at(0, 0, 2);
  const auto use = [&](Mpc& mpc) {
    for (int t = 0; t < 3; ++t) {
      const auto decision = mpc.act(seen, t == 1 ? at::zeros({2, 2}) : Tensor());
      INFO(decision.message);
      CHECK(decision.status == Status::ok);
      CHECK(decision.sources[1] == ActionSource::plan);
    }
    CHECK_NOTHROW(mpc.reset({1}));
    CHECK_NOTHROW(mpc.set_goal(goal_at(0.1, 0.2), {0}));
  };
  std::optional<Mpc> inside;
  {
    c10::InferenceMode inference;
    inside.emplace(controller());
    use(*inside);
  }
  use(*inside);
  auto outside = controller();
  use(outside);
  {
    c10::InferenceMode inference;
    use(outside);
  }
  use(outside);
}

TEST_CASE("an asynchronous loop made in inference mode plans on its own thread") {
  std::optional<AsyncMpc> loop;
  {
    c10::InferenceMode inference;
    Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
            {.horizon = 5, .replan_steps = 1});
    mpc.set_goal(goal_at(0.5, 0.5));
    mpc.warm_up(origin());
    loop.emplace(std::move(mpc), AsyncMpcOptions{.period = 0.1, .max_age = 100});
    loop->observe(goal_at(0, 0), 0.0);
    REQUIRE(loop->wait_idle(60));
    CHECK(loop->action(0.0).sources[0] == ActionSource::plan);
  }
  for (int t = 1; t < 4; ++t) {  // answers, observations and resets from outside
    loop->observe(goal_at(0, 0), 0.1 * t);
    REQUIRE(loop->wait_idle(60));
    const auto decision = loop->action(0.1 * t);
    INFO(decision.message);
    CHECK(decision.status == Status::ok);
    CHECK(decision.sources[0] == ActionSource::plan);
  }
  loop->reset();
  CHECK(loop->statistics().failed_plans == 0);
}

TEST_CASE("gradients are found in inference mode") {
  c10::InferenceMode inference;
  Problem problem;
  problem.cost = [](const Tensor& actions) {
    return Costs{(actions - 0.5).square().sum({2, 3}), {}, {}};
  };
  PhiloxNoise noise(1);
  const auto plan =
      GradientPlanner({.iterations = 200, .learning_rate = 0.05}).solve(problem, noise);
  INFO(plan.message);
  CHECK(plan.status == Status::ok);
  CHECK(plan.actions.item<double>() == Approx(0.5).margin(0.05));
}

TEST_CASE("task fields are copied and must be numbers") {
  float wanted = 0.25F;
  Objective objective;
  std::vector<double> told;
  objective.add("wanted", 1.0, [&told](const Trajectory& trajectory, const Task& task) {
    told.push_back(task.at("wanted")[0].item<double>());
    return trajectory.actions.square().sum({2, 3});
  });
  Mpc mpc(std::make_shared<PointMass>(1), objective, quick_planner(),
          {.horizon = 3, .replan_steps = 1});
  mpc.set_task("wanted", at::from_blob(&wanted, {1}));
  wanted = 99;
  CHECK(mpc.act(origin()).status == Status::ok);
  REQUIRE_FALSE(told.empty());
  CHECK(std::all_of(told.begin(), told.end(), [](double value) { return value == 0.25; }));
  const auto nan = at::full({1}, std::nan(""));
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { mpc.set_task("wanted", nan); }, "wanted"));
  AsyncMpc loop(std::move(mpc));
  CHECK(fails_with(
      ErrorCategory::non_finite, [&] { loop.set_task("wanted", nan); }, "wanted"));
  CHECK_NOTHROW(loop.set_task("index", at::ones({1}, at::kLong)));
}

TEST_CASE("pinned values and proposed plans reach the planner, row by row") {
  const auto planner = std::make_shared<Recorder>();
  Mpc mpc(std::make_shared<PointMass>(1), async_mpc_test::anything(), planner,
          {.batch = 2, .horizon = 3, .replan_steps = 1});
  const auto seen = goal_at(0, 0, 2);
  auto pinned = at::full({2, 3, 2}, std::nan(""));
  pinned[0][1][0] = 0.5;
  pinned[1][2][1] = -0.5;
  mpc.set_pinned(pinned);
  mpc.set_proposals([](const State& start, Noise&) {
    return at::full({start.batch_shape()[0], 4, 3, 2}, 0.125);
  });
  const auto expected = pinned.clone();
  pinned.zero_();  // the caller's memory is its own
  CHECK(mpc.act(seen).status == Status::ok);
  REQUIRE(planner->asked.size() == 1);
  CHECK(at::equal(planner->asked[0].pinned.nan_to_num(9), expected.nan_to_num(9)));
  CHECK(planner->asked[0].proposals.sizes() == at::IntArrayRef({2, 4, 3, 2}));
  mpc.set_pinned(expected[1]);  // of all problems
  mpc.act(seen);
  CHECK(at::equal(planner->asked[1].pinned[0].nan_to_num(9), expected[1].nan_to_num(9)));
  mpc.set_pinned({});
  mpc.set_proposals(nullptr);
  mpc.act(seen);
  CHECK_FALSE(planner->asked[2].pinned.defined());
  CHECK_FALSE(planner->asked[2].proposals.defined());
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        mpc.set_pinned(at::zeros({2, 2}));
      },
      "pinned", "[H,A]"));
  mpc.set_proposals([](const State&, Noise&) -> Tensor { throw std::runtime_error("no idea"); });
  const auto decision = mpc.act(seen);
  CHECK(decision.faults[0] == Fault::solve_failed);
  CHECK(decision.message.find("no idea") != std::string::npos);
}

TEST_CASE("what is pinned in a running loop reaches the plans of later observations") {
  const auto planner = std::make_shared<Recorder>();
  AsyncMpc loop(Mpc(std::make_shared<PointMass>(1), async_mpc_test::anything(), planner,
                    {.batch = 2, .horizon = 3, .replan_steps = 1}),
                {.period = 0.1});
  const auto step = [&](double time) {
    loop.observe(goal_at(0, 0, 2), time);
    REQUIRE(loop.wait_idle(async_mpc_test::kPatience));
    return planner->asked.back().pinned;
  };
  CHECK_FALSE(step(0.0).defined());
  auto pinned = at::full({3, 2}, std::nan(""));
  pinned[1][0] = 0.5;
  loop.set_pinned(at::zeros({3, 2}));  // replaced before anybody used it
  loop.set_pinned(pinned);
  const auto expected = pinned.clone();
  pinned.zero_();  // the caller's memory is its own
  const auto told = step(0.1);
  CHECK(told.sizes() == at::IntArrayRef({2, 3, 2}));
  CHECK(at::equal(told[1].nan_to_num(9), expected.nan_to_num(9)));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        loop.set_pinned(at::zeros({2, 2}));
      },
      "pinned", "[H,A]"));
  loop.set_pinned({});
  CHECK_FALSE(step(0.2).defined());
}

TEST_CASE("what is pinned is executed") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
          {.horizon = 4, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1));
  auto pinned = at::full({4, 2}, std::nan(""));
  pinned.select(1, 0).fill_(-0.25);
  mpc.set_pinned(pinned);
  const auto action = mpc.act(origin()).action;
  CHECK(action[0][0].item<double>() == -0.25);
  CHECK(action[0][1].item<double>() > 0);
}

TEST_CASE("a state in bfloat16 is searched in float32") {
  class Half final : public PointMass {
   public:
    State observe(const State& previous, const Tensor& block, const Observation& observation,
                  Noise& noise) const override {
      auto state = PointMass::observe(previous, block, observation, noise);
      state.set("latent", state.at("latent").to(at::kBFloat16));
      return state;
    }
  };
  const auto planner = std::make_shared<Recorder>();
  Mpc mpc(std::make_shared<Half>(), async_mpc_test::anything(), planner,
          {.horizon = 2, .replan_steps = 1});
  CHECK(mpc.act(origin()).status == Status::ok);
  REQUIRE(planner->asked.size() == 1);
  CHECK(c10::typeMetaToScalarType(planner->asked[0].options.dtype()) == at::kFloat);
}

TEST_CASE("a plan whose memory does not fit is not executed, nor told as one") {
  const auto planner = std::make_shared<Recorder>();
  Mpc mpc(std::make_shared<PointMass>(1), async_mpc_test::anything(), planner,
          {.horizon = 3, .replan_steps = 1, .retries = 0});
  CHECK(mpc.act(origin()).action[0][0].item<float>() == 0.1F);
  planner->spoilt = 1;
  const auto decision = mpc.act(origin());
  CHECK(decision.status == Status::failed);
  CHECK_FALSE(decision.planned[0]);
  CHECK(decision.sources[0] == ActionSource::previous_plan);
  CHECK(decision.action[0][0].item<float>() == 0.1F);  // the rest of the first plan
  planner->spoilt = 0;
  const auto next = mpc.act(origin());
  CHECK(next.status == Status::ok);
  CHECK(next.action[0][0].item<float>() == 0.3F);
}

TEST_CASE("problems that are planned apart share the time that there is") {
  // One problem is reset, so that it has a shorter history than the other.
  ManualClock clock;
  const auto model = std::make_shared<PointMass>(1);
  model->mutable_spec().history = 2;
  auto options = lewm_cem();
  options.samples = 16;
  options.elites = 4;
  options.iterations = 1000;
  Objective slow;
  slow.add("effort", 1.0, [clock](const Trajectory& trajectory, const Task&) {
    clock.pass(std::chrono::milliseconds(10));
    return trajectory.actions.square().sum({2, 3});
  });
  Mpc mpc(model, slow, std::make_shared<SamplingPlanner>(options),
          {.batch = 2, .horizon = 2, .replan_steps = 1, .deadline_ms = 100}, clock);
  const auto seen = goal_at(0, 0, 2);
  mpc.act(seen);
  mpc.act(seen);
  mpc.reset({1});
  const auto decision = mpc.act(seen);
  REQUIRE(decision.solved.size() == 2);
  for (const auto& group : decision.solved) {
    INFO("problem " << group.rows[0]);
    CHECK(group.plan.diagnostics.iterations >= 3);
    CHECK(decision.sources[static_cast<std::size_t>(group.rows[0])] == ActionSource::plan);
  }
  CHECK(decision.total_seconds < 0.13);
}

}  // namespace
}  // namespace foresight::mpc_inputs_test
