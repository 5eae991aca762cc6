// SPDX-License-Identifier: Apache-2.0
// Example 1: plan with a model of your own. A pendulum that is too weak to be lifted at once swings
// up and is held there: iCEM imagines two seconds ahead at every step, with nothing learned.
#include <cmath>
#include <cstdio>
#include <memory>

#include "foresight/control/mpc.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

using namespace foresight;

namespace {

constexpr double kStep = 0.05, kGravity = 10.0;  // seconds; m/s^2. Mass and length are 1.

// State: angle from upright and angular velocity. The action is a torque of at most 2 Nm, less than
// half of what would hold the pendulum horizontally.
struct Pendulum final : WorldModel {
  Pendulum() {
    about.family = "pendulum";
    about.observation = {{"state", {2}}};
    about.action.low = {-2.0};
    about.action.high = {2.0};
    about.channels = 2;
  }
  const ModelSpec& spec() const override { return about; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 2}));
  }
  State observe(const State&, const Tensor&, const Observation& seen, Noise&) const override {
    spec().check(seen);
    return State(1).set("latent", seen.at("state").unsqueeze(1)).set_filled(1);
  }
  Transition step(const State& state, const Tensor& torque, Noise&) const override {
    const auto angle = state.at("latent").select(-1, 0),
               velocity = state.at("latent").select(-1, 1);
    const auto faster =
        (velocity + kStep * (1.5 * kGravity * at::sin(angle) + 3.0 * torque)).clamp(-8.0, 8.0);
    return {
        State(state.batch_dims()).set("latent", at::stack({angle + kStep * faster, faster}, -1)),
        {},
        {}};
  }
  ModelSpec about;
};

// How far from standing upright and still, over the whole imagined future.
Tensor unrest(const Trajectory& future, const Task&) {
  const auto angle = future.states.at("latent").select(-1, 0),
             velocity = future.states.at("latent").select(-1, 1);
  return ((1.0 - at::cos(angle)) * 5.0 + 0.1 * velocity.square()).sum({2, 3});
}

}  // namespace

int main() {
  Objective objective;
  objective.add("unrest", 1.0, unrest);
  objective.add("effort", 0.001, control_effort());
  auto search = icem();
  search.initial_std = {1.5};
  Mpc mpc(std::make_shared<Pendulum>(), objective, std::make_shared<SamplingPlanner>(search),
          {.horizon = 40, .replan_steps = 1});

  const Pendulum world;  // here the model is the world; a robot would move
  PhiloxNoise noise(0);
  auto state = at::tensor({float(M_PI), 0.0F}).view({1, 2});  // hanging
  for (int step = 0; step < 120; ++step) {
    const auto decision = mpc.act({"state", state});
    const State now = State(1).set("latent", state.unsqueeze(1));
    state = world.step(now, decision.action, noise).next.at("latent").squeeze(1);
    if (step % 10 == 9)
      std::printf("%4.1f s  angle %6.2f rad  torque %5.2f Nm  %s\n", (step + 1) * kStep,
                  std::remainder(state[0][0].item<double>(), 2 * M_PI),
                  decision.action.item<double>(), decision.message.c_str());
  }
  const bool up = std::cos(state[0][0].item<double>()) > 0.95;
  std::printf("%s\n", up ? "upright" : "not upright");
  return up ? 0 : 1;
}
