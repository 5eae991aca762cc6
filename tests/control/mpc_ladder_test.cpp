// SPDX-License-Identifier: Apache-2.0
// Nothing that goes wrong gets past act(): which rung answers, and why.
#include "control/mpc_loop_parts.hpp"

#include <stdexcept>

namespace foresight::mpc_ladder_test {
namespace {

// A planner that fails on command.
class MoodyPlanner final : public Planner {
 public:
  explicit MoodyPlanner(std::shared_ptr<const Planner> inner) : inner_(std::move(inner)) {}
  Plan solve(const Problem& problem, Noise& noise) const override {
    ++calls;
    warm.push_back(problem.warm_start.mean.defined());
    if (mood == Mood::throws && good_after > 0 && calls > good_after)
      return inner_->solve(problem, noise);
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
  int good_after = 0;  // calls of Mood::throws after which it is good; 0: never
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
    CHECK(decision.faults[0] == (mood == Mood::throws    ? Fault::solve_failed
                                 : mood == Mood::refuses ? Fault::cost_non_finite
                                                         : Fault::plan_rejected));
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
    CHECK(decision.faults[0] == Fault::none);
  }
}

TEST_CASE("a retry from the reset distribution is a rung of its own") {
  const auto planner = std::make_shared<MoodyPlanner>(quick_planner());
  Mpc mpc(std::make_shared<PointMass>(1), reach(), planner, {.horizon = 4, .replan_steps = 2});
  mpc.set_goal(goal_at(1, 1));
  const auto state = at_state(at::zeros({1, 4}));
  planner->good_after = 1;
  planner->mood = MoodyPlanner::Mood::throws;
  auto decision = mpc.act(state);
  CHECK(decision.status == Status::ok);
  CHECK(decision.sources[0] == ActionSource::retried_plan);
  CHECK(decision.faults[0] == Fault::solve_failed);
  CHECK(decision.message.find("moody") != std::string::npos);
  CHECK(decision.solved.size() == 2);
  decision = mpc.act(state);  // goes on with that plan
  CHECK(decision.sources[0] == ActionSource::retried_plan);
  CHECK(decision.faults[0] == Fault::none);
  planner->mood = MoodyPlanner::Mood::good;
  CHECK(mpc.act(state).sources[0] == ActionSource::plan);
}

TEST_CASE("only the problems that failed are retried, and each is told its own reason") {
  // The second problem's cost is not finite on the warm start's side of the world.
  Objective objective = reach();
  int evaluations = 0;
  bool poisoned = true;
  objective.add("poison", 1.0, [&](const Trajectory& trajectory, const Task&) {
    ++evaluations;
    auto cost = at::zeros({trajectory.actions.size(0), trajectory.actions.size(1)});
    if (poisoned && cost.size(0) == 2) cost[1].fill_(std::nan(""));
    return cost;
  });
  Mpc mpc(std::make_shared<PointMass>(1), objective, quick_planner(),
          {.batch = 2, .horizon = 4, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1, 2));
  const auto decision = mpc.act(at_state(at::zeros({2, 4})));
  CHECK(decision.status == Status::ok);
  REQUIRE(decision.solved.size() == 2);
  CHECK(decision.solved[1].rows == std::vector<int64_t>{1});
  CHECK(decision.sources[0] == ActionSource::plan);
  CHECK(decision.sources[1] == ActionSource::retried_plan);
  CHECK(decision.faults[0] == Fault::none);
  CHECK(decision.faults[1] == Fault::cost_non_finite);
}

TEST_CASE("constraints that no candidate keeps: the plan is not executed") {
  auto objective = reach();
  double limit = 5;
  objective.constrain("unreachable", [&](const Trajectory& trajectory, const Task&) {
    return trajectory.actions.square().sum({2, 3}) - limit;
  });
  Mpc mpc(std::make_shared<PointMass>(1), objective, quick_planner(),
          {.horizon = 3, .replan_steps = 1, .safe_action = {0.125, 0.25}});
  mpc.set_goal(goal_at(1, 1));
  const auto state = at_state(at::zeros({1, 4}));
  REQUIRE(mpc.act(state).status == Status::ok);
  limit = -1;
  auto decision = mpc.act(state);
  CHECK(decision.status == Status::infeasible);
  CHECK(decision.faults[0] == Fault::infeasible);
  CHECK(decision.sources[0] == ActionSource::previous_plan);
  mpc.act(state);
  decision = mpc.act(state);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(at::equal(decision.action, at::tensor({0.125F, 0.25F}).unsqueeze(0)));
}

// A model with a memory: NaN in it would stay for ever. It fails in observe() on command.
class Rememberer final : public PointMass {
 public:
  Rememberer() : PointMass(1) { mutable_spec().history = 2; }
  State initial(int64_t batch) const override {
    return PointMass::initial(batch).set("memory", at::zeros({batch, 1}));
  }
  State observe(const State& previous, const Tensor& action, const Observation& observation,
                Noise& noise) const override {
    if (throws_on_fill == previous.filled()) throw 42;  // not even an exception object
    auto state = PointMass::observe(previous, action, observation, noise);
    state.set("memory", previous.at("memory") * 0.5 + 1.0);
    if (poisons) state.set("memory", state.at("memory") / 0.0);
    return state;
  }
  bool poisons = false;
  int64_t throws_on_fill = -1;
};

TEST_CASE("NaN that a model makes does not stay in its memory") {
  const auto model = std::make_shared<Rememberer>();
  Mpc mpc(model, reach(), quick_planner(), {.horizon = 4, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1));
  const auto state = at_state(at::zeros({1, 4}));
  mpc.act(state);
  model->poisons = true;
  const auto decision = mpc.act(state);
  CHECK(decision.status == Status::non_finite);
  CHECK(decision.faults[0] == Fault::state_non_finite);
  CHECK(decision.sources[0] == ActionSource::previous_plan);
  model->poisons = false;
  CHECK(mpc.act(state).status == Status::ok);
}

TEST_CASE("a model that fails on one group of problems does not stop the others") {
  const auto model = std::make_shared<Rememberer>();
  Mpc mpc(model, reach(), quick_planner(), {.batch = 3, .horizon = 4, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1, 3));
  const auto state = at_state(at::zeros({3, 4}));
  mpc.act(state);
  mpc.reset({1});
  model->throws_on_fill = 0;
  const auto decision = mpc.act(state);
  CHECK(decision.faults[0] == Fault::none);
  CHECK(decision.faults[1] == Fault::observe_failed);
  CHECK(decision.faults[2] == Fault::none);
  CHECK(decision.sources[1] == ActionSource::safe_action);
  CHECK(decision.statuses[2] == Status::ok);
  CHECK(decision.message.find("std::exception") != std::string::npos);
}

TEST_CASE("a bad observation between two plans costs no plan but is told") {
  Mpc mpc(std::make_shared<PointMass>(1), reach(), quick_planner(),
          {.horizon = 4, .replan_steps = 3});
  mpc.set_goal(goal_at(1, 1));
  const auto state = at_state(at::zeros({1, 4}));
  mpc.act(state);
  for (const auto& bad : {at_state(at::zeros({1, 3})), at_state(at::zeros({1, 4}, at::kDouble))}) {
    const auto decision = mpc.act(bad);
    CHECK(decision.status == Status::invalid_input);
    CHECK(decision.faults[0] == Fault::observation_rejected);
    CHECK(decision.sources[0] == ActionSource::plan);
  }
  CHECK(mpc.act(state).status == Status::ok);
}

TEST_CASE("follow() takes a step of the plan without planning") {
  const auto planner = std::make_shared<MoodyPlanner>(quick_planner());
  Mpc mpc(std::make_shared<PointMass>(1), reach(), planner, {.horizon = 3, .replan_steps = 1});
  mpc.set_goal(goal_at(1, 1));
  const auto state = at_state(at::zeros({1, 4}));
  CHECK(mpc.follow(state).faults[0] == Fault::no_plan);
  const auto planned = mpc.act(state).solved[0].plan.actions;
  for (int t = 1; t < 3; ++t) {
    const auto decision = mpc.follow(state);
    CHECK(decision.status == Status::ok);
    CHECK(at::allclose(decision.action[0], planned[0][t]));
  }
  const auto decision = mpc.follow(state);
  CHECK(decision.sources[0] == ActionSource::safe_action);
  CHECK(decision.status == Status::fell_back);
  CHECK(planner->calls == 1);
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

TEST_CASE("every fault and every rung has a name of its own") {
  std::size_t place = 0;
  for (const auto& [name, fault] : EnumNames<Fault>::names) {
    CHECK_FALSE(name.empty());
    CHECK(static_cast<std::size_t>(fault) == place++);
  }
  CHECK(enum_name(Fault::internal) == "internal");  // the last one
  CHECK(enum_name(ActionSource::safe_action) == "safe_action");
}

}  // namespace
}  // namespace foresight::mpc_ladder_test
