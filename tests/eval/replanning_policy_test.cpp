// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's protocol of planning: starting over at every step within the episode, and success only
// at its end. With a model that knows free motion exactly.
#include "foresight/eval/replanning_policy.hpp"

#include <algorithm>
#include <memory>
#include <vector>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

namespace foresight::eval::replanning_policy_test {
namespace {

// The dot's position moved by the action, in tens of pixels; knows no walls.
class FreeDot final : public WorldModel {
 public:
  explicit FreeDot(int64_t block = 1) {
    spec_.family = "free_dot";
    spec_.observation = {{std::string(kProprio), {4}}};
    spec_.action.dim = 2;
    spec_.action.block = block;
    spec_.channels = 2;
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    State state(1);
    state.set("latent", at::zeros({batch, 1, 2}));
    return state;
  }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    State state(1);
    state.set("latent", seen.at(kProprio).narrow(-1, 0, 2).unsqueeze(1) / 10);
    return state.set_filled(1);
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    State next(state.batch_dims());
    next.set("latent", state.at("latent") + action.unsqueeze(-2) / 10).set_filled(1);
    return {next, {}, {}};
  }

 private:
  ModelSpec spec_;
};

// Keeps the horizons that it was asked for.
class SpyPlanner final : public Planner {
 public:
  explicit SpyPlanner(const SamplingOptions& options) : planner_(options) {}
  Plan solve(const Problem& problem, Noise& noise) const override {
    horizons.push_back(problem.horizon);
    CHECK(problem.warm_start.empty());
    return planner_.solve(problem, noise);
  }
  mutable std::vector<int64_t> horizons;

 private:
  SamplingPlanner planner_;
};

Objective eb_distance() {
  Objective objective;
  objective.add("goal", 1.0, goal_distance({.steps = Steps::sum, .reduction = Reduction::mean}));
  return objective;
}

// Three problems within the left room, the last one too far for the budget.
PlanningProtocol in_one_room(int64_t budget) {
  PlanningProtocol protocol{"one_room", 0, budget, {}};
  for (const auto& [start, goal] : {std::pair{std::array{10.0, 30.0}, std::array{22.0, 40.0}},
                                    std::pair{std::array{20.0, 50.0}, std::array{14.0, 30.0}},
                                    std::pair{std::array{8.0, 10.0}, std::array{25.0, 57.0}}})
    protocol.instances.push_back(
        {kNoEpisode, 0, 0, {start[0], start[1], 40, 18}, {goal[0], goal[1], 40, 18}});
  protocol.solved_when = SolvedWhen::near_at_end;
  protocol.success_distance = 4.5;
  return protocol;
}

std::unique_ptr<envs::Env> eb_rooms() { return std::make_unique<envs::EbTwoRooms>(); }

// Answers with one action, whatever it sees.
class ConstantPolicy final : public EvalPolicy {
 public:
  explicit ConstantPolicy(std::vector<std::array<double, 2>> actions)
      : actions_(std::move(actions)) {}
  std::string name() const override { return "constant"; }
  void begin(const EvalProblems&) override { step_ = 0; }
  bool wants_observation() const override { return false; }
  EvalActions act(const Observation&, const Tensor& active) override {
    const auto& action = actions_[std::min(step_++, actions_.size() - 1)];
    return {at::tensor({action[0], action[1]}, at::kDouble).repeat({active.size(0), 1}), 0, 0, {}};
  }

 private:
  std::vector<std::array<double, 2>> actions_;
  std::size_t step_ = 0;
};

}  // namespace

TEST_CASE("EB-JEPA's planners, started over at every step, stay at goals that they can reach") {
  for (const auto& preset : {eb_jepa_cem(), eb_jepa_mppi()}) {
    auto options = preset;
    options.iterations = 5;
    const auto spy = std::make_shared<SpyPlanner>(options);
    ReplanningPolicy policy(std::make_shared<FreeDot>(), eb_distance(), spy,
                            {.horizon = 10, .episode_steps = 15}, "free_dot");
    const auto report =
        evaluate_planning(policy, eb_rooms, in_one_room(15), nullptr, {.image_size = 65});
    CHECK(report.records[0].success);
    CHECK(report.records[1].success);
    // 50 px in 15 steps: too far for actions of at most 2.45 px.
    if (options.bound == BoundKind::radial) CHECK_FALSE(report.records[2].success);
    CHECK(report.fallbacks == 0);
    // Plans end with the episode.
    std::vector<int64_t> expected(6, 10);
    for (int64_t left = 9; left >= 1; --left) expected.push_back(left);
    CHECK(spy->horizons == expected);
    for (const auto& record : report.records) CHECK(record.steps == 15);
  }
}

TEST_CASE("near_at_end: a goal that was passed and left again is not reached") {
  PlanningProtocol protocol = in_one_room(4);
  protocol.instances.resize(1);
  protocol.instances[0] = {kNoEpisode, 0, 0, {10, 30, 40, 18}, {16, 30, 40, 18}};
  ConstantPolicy through({{3, 0}, {3, 0}, {0, 10}, {0, 10}});
  const auto passed = evaluate_planning(through, eb_rooms, protocol, nullptr, {.image_size = 65});
  CHECK_FALSE(passed.records[0].success);
  CHECK(passed.records[0].steps == 4);
  CHECK(passed.records[0].final_distance > 19);
  ConstantPolicy stays({{3, 0}, {3, 0}, {0, 0}});
  const auto reached = evaluate_planning(stays, eb_rooms, protocol, nullptr, {.image_size = 65});
  CHECK(reached.records[0].success);
  CHECK(reached.records[0].steps == 4);  // it does not end before

  protocol.solved_when = SolvedWhen::terminated;  // the environment's own `done`
  const auto done = evaluate_planning(through, eb_rooms, protocol, nullptr, {.image_size = 65});
  CHECK(done.records[0].success);
  CHECK(done.records[0].steps == 2);

  protocol.solved_when = SolvedWhen::near_at_end;
  protocol.success_distance = 0;
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { evaluate_planning(stays, eb_rooms, protocol, nullptr, {.image_size = 65}); },
      "success_distance"));
}

TEST_CASE("a replanning policy refuses what it cannot plan for") {
  const auto planner = std::make_shared<SamplingPlanner>(eb_jepa_cem());
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] {
        ReplanningPolicy blocks(std::make_shared<FreeDot>(5), eb_distance(), planner, {}, "x");
      },
      "block = 5"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        ReplanningPolicy none(std::make_shared<FreeDot>(), eb_distance(), planner, {.horizon = 0},
                              "x");
      },
      "horizon"));
  ReplanningPolicy policy(std::make_shared<FreeDot>(), eb_distance(), planner, {.episode_steps = 3},
                          "x");
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { evaluate_planning(policy, eb_rooms, in_one_room(4), nullptr, {.image_size = 65}); },
      "episode_steps = 3"));
}

}  // namespace foresight::eval::replanning_policy_test
