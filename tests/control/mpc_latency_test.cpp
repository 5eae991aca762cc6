// SPDX-License-Identifier: Apache-2.0
// Actions that take effect late: planning starts from the state at that moment.
#include <deque>

#include "control/mpc_loop_parts.hpp"

namespace foresight::mpc_latency_test {
namespace {

// A position that each raw action moves by its own amount: whatever the rate of the loop, the mean
// of the commands tells where it goes, so that the model is exact. It remembers from where it was
// asked to imagine.
class Mover final : public WorldModel {
 public:
  explicit Mover(int64_t block) {
    spec_.family = "mover";
    spec_.observation = {{std::string(kProprio), {1}}};
    spec_.action.block = block;
    spec_.action.low = {-1.0};
    spec_.action.high = {1.0};
    spec_.action.mean = {0.25};
    spec_.action.std = {0.5};
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 1}));
  }
  State observe(const State&, const Tensor&, const Observation& observation,
                Noise&) const override {
    return State(1).set("latent", observation.at(kProprio).unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    const auto moved = spec_.action.denormalise(action).sum({-2, -1}, /*keepdim=*/true);
    return {State(state.batch_dims()).set("latent", state.at("latent") + moved), {}, {}};
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override {
    start = state.at("latent").flatten().clone();
    return looped_rollout(state, actions, noise);
  }
  mutable Tensor start;

 private:
  ModelSpec spec_;
};

struct Case {
  int64_t block = 1;
  double ratio = 1;  // control steps per raw action
  int64_t latency = 0;
  int64_t replan = 1;
  HistoryMode mode = HistoryMode::incremental;
};

// Runs two problems whose actions take effect `latency` control steps later, and compares from
// where each plan started with where the world really was when it took effect.
void check_starts(const Case& c) {
  const auto model = std::make_shared<Mover>(c.block);
  auto search = icem();
  search.samples = 8;
  search.elites = 2;
  search.iterations = 1;
  Mpc mpc(model, reach(), std::make_shared<SamplingPlanner>(search),
          {.batch = 2,
           .horizon = 8,
           .replan_steps = c.replan,
           .steps_per_action = c.ratio,
           .latency_steps = c.latency,
           .history_mode = c.mode,
           .safe_action = {-0.125}});
  mpc.set_goal(at_state(at::tensor({1.F, -1.F}).view({2, 1})));
  const auto block_steps = static_cast<int64_t>(static_cast<double>(c.block) * c.ratio);
  const auto lag = (block_steps - c.latency % block_steps) % block_steps;
  auto world = at::tensor({0.3F, -0.2F}).view({2, 1});
  std::deque<Tensor> on_the_way(static_cast<std::size_t>(c.latency), at::full({2, 1}, -0.125));
  std::vector<std::pair<int64_t, Tensor>> starts;  // control step of effect, imagined start
  std::vector<Tensor> positions;
  for (int64_t t = 0; t < 30; ++t) {
    positions.push_back(world.flatten().clone());
    const auto decision = mpc.act(at_state(world));
    REQUIRE(decision.status == Status::ok);
    if (decision.replanned() && t >= lag) starts.emplace_back(t + c.latency, model->start);
    on_the_way.push_back(decision.action);
    world = world + on_the_way.front() / c.ratio;
    on_the_way.pop_front();
  }
  int compared = 0;
  for (const auto& [when, start] : starts) {
    if (when >= static_cast<int64_t>(positions.size())) continue;
    INFO("plan that took effect at control step " << when);
    CHECK(at::allclose(start, positions[static_cast<std::size_t>(when)], 1e-5, 1e-5));
    ++compared;
  }
  CHECK(compared >= 3);
}

TEST_CASE("an exact model plans from where the world will be, whatever the latency") {
  for (const auto mode : {HistoryMode::incremental, HistoryMode::window})
    for (const int64_t block : {1, 2, 3})
      for (const double ratio : {1.0, 2.0})
        for (const int64_t latency : {0, 1, 2, 3, 5})
          for (const int64_t replan : {1, 5}) {
            INFO(enum_name(mode) << ", block " << block << ", ratio " << ratio << ", latency "
                                 << latency << ", replanning every " << replan);
            check_starts({block, ratio, latency, replan, mode});
          }
}

TEST_CASE("until an episode has an old enough observation, whole blocks of the latency count") {
  const auto model = std::make_shared<Mover>(2);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 3, .replan_steps = 1, .latency_steps = 3, .safe_action = {0.5}});
  mpc.set_goal(at_state(at::zeros({1, 1})));
  mpc.act(at_state(at::full({1, 1}, 4.0)));
  // One block of two safe actions of the three control steps.
  CHECK(model->start.item<double>() == Approx(4.0 + 2 * 0.5));
}

TEST_CASE("actions reported as executed replace the committed ones in what the model is told") {
  // Half a block old observation: its own step was executed differently from what was decided.
  const auto model = std::make_shared<Mover>(2);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 3, .replan_steps = 1, .latency_steps = 1, .safe_action = {0.5}});
  mpc.set_goal(at_state(at::zeros({1, 1})));
  const auto first = mpc.act(at_state(at::full({1, 1}, 4.0))).action;
  mpc.act(at_state(at::full({1, 1}, 9.0)), at::full({1, 1}, -0.25));
  // From the observation of 4, the reported -0.25 and the committed first answer.
  CHECK(model->start.item<double>() == Approx(4.0 - 0.25 + first.item<double>()));
}

TEST_CASE("a reset brings the safe action back on the way") {
  const auto model = std::make_shared<Mover>(1);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 3, .replan_steps = 1, .latency_steps = 2, .safe_action = {0.125}});
  mpc.set_goal(at_state(at::full({1, 1}, 3.0)));
  for (int t = 0; t < 4; ++t) mpc.act(at_state(at::zeros({1, 1})));
  CHECK(std::abs(model->start.item<double>() - 0.25) > 0.1);
  mpc.reset({0});
  mpc.act(at_state(at::zeros({1, 1})));
  CHECK(model->start.item<double>() == Approx(0.25));
}

// How far a point mass with delayed actuation is from its goal at worst in the last second.
double miss(int64_t delay, int64_t compensated) {
  const auto model = std::make_shared<PointMass>(1, 0.1);
  Mpc mpc(model, reach(), quick_planner(),
          {.horizon = 15, .replan_steps = 1, .latency_steps = compensated, .seed = 1});
  mpc.set_goal(goal_at(0.5, -0.3));
  auto state = at::zeros({1, 4});
  std::deque<Tensor> on_the_way(static_cast<std::size_t>(delay), at::zeros({1, 2}));
  double worst = 0;
  for (int t = 0; t < 120; ++t) {
    on_the_way.push_back(mpc.act(at_state(state)).action);
    state = model->advance(state, on_the_way.front());
    on_the_way.pop_front();
    if (t >= 110)
      worst = std::max(
          worst, (state.narrow(1, 0, 2) - at::tensor({0.5F, -0.3F})).abs().max().item<double>());
  }
  return worst;
}

TEST_CASE("delayed actuation: the goal is reached with compensation and missed without") {
  const double with = miss(8, 8), without = miss(8, 0);
  INFO("worst distance in the last second: " << with << " with, " << without << " without");
  CHECK(with < 0.1);
  CHECK(without > 0.3);
}

}  // namespace
}  // namespace foresight::mpc_latency_test
