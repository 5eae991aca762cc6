// SPDX-License-Identifier: Apache-2.0
// A user's program: a model of its own, a cart on a rail, driven to rest at the origin by
// model-predictive control. It fails if the cart does not arrive, leaves its limits, or if one
// decision was not a plan.
#include <cmath>
#include <cstdio>
#include <memory>

#include "foresight/control/mpc.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

namespace {

using foresight::Noise;
using foresight::State;
using foresight::Tensor;

/// Position and velocity of a cart that accelerates by the action, 0.1 s a step.
class Cart final : public foresight::WorldModel {
 public:
  Cart() {
    spec_.family = "cart";
    spec_.observation = {{"state", {2}}};
    spec_.channels = 2;
    spec_.action.low = {-1};
    spec_.action.high = {1};
  }
  const foresight::ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override { return latent(1, at::zeros({batch, 1, 2})); }
  State observe(const State&, const Tensor&, const foresight::Observation& observation,
                Noise&) const override {
    spec_.check(observation);
    return latent(1, observation.at("state").unsqueeze(1)).set_filled(1);
  }
  foresight::Transition step(const State& state, const Tensor& action, Noise&) const override {
    const Tensor velocity = state.at("latent").select(-1, 1) + 0.1 * action;
    const Tensor position = state.at("latent").select(-1, 0) + 0.1 * velocity;
    return {latent(state.batch_dims(), at::stack({position, velocity}, -1)), {}, {}};
  }

 private:
  static State latent(int64_t batch_dims, Tensor value) {
    return State(batch_dims).set("latent", std::move(value));
  }
  foresight::ModelSpec spec_;
};

}  // namespace

int main() {
  foresight::Objective objective;
  objective.add("goal", 1.0, foresight::goal_distance({.steps = foresight::Steps::sum}))
      .add("effort", 0.01, foresight::control_effort());
  foresight::Mpc mpc(std::make_shared<Cart>(), objective,
                     std::make_shared<foresight::SamplingPlanner>(foresight::icem()),
                     {.horizon = 15, .replan_steps = 1});
  mpc.set_goal({"state", at::zeros({1, 2})});

  double position = 1, velocity = 0;
  for (int step = 0; step < 80; ++step) {
    const auto state = at::tensor({static_cast<float>(position), static_cast<float>(velocity)});
    const auto decision = mpc.act({"state", state.view({1, 2})});
    const double action = decision.action.item<double>();
    if (decision.status != foresight::Status::ok || !(std::abs(action) <= 1)) {
      std::printf("step %d: action %g, %s\n", step, action, decision.message.c_str());
      return 1;
    }
    velocity += 0.1 * action;
    position += 0.1 * velocity;
  }
  std::printf("after 8 s: position %.4f m, velocity %.4f m/s\n", position, velocity);
  return std::abs(position) < 0.05 && std::abs(velocity) < 0.05 ? 0 : 1;
}
