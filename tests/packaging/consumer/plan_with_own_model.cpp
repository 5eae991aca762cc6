// SPDX-License-Identifier: Apache-2.0
// A user's program: a model of its own, here a cart on a line, imagined with foresight.
#include <cmath>
#include <cstdio>

#include "foresight/core/world_model.hpp"

namespace {

/// Position and velocity of a cart that accelerates by the action, 0.1 s a step.
class Cart final : public foresight::WorldModel {
 public:
  Cart() {
    spec_.family = "cart";
    spec_.observation = {{"state", {2}, at::kFloat}};
    spec_.channels = 2;
    spec_.action.low = {-1};
    spec_.action.high = {1};
  }
  const foresight::ModelSpec& spec() const override { return spec_; }

  foresight::State initial(int64_t batch) const override {
    foresight::State state(1);
    state.set("latent", at::zeros({batch, 1, 2}));
    return state;
  }
  foresight::State observe(const foresight::State&, const foresight::Tensor&,
                           const foresight::Observation& observation,
                           foresight::Noise&) const override {
    spec_.check(observation);
    foresight::State state(1);
    state.set("latent", observation.at("state").unsqueeze(-2)).set_filled(1);
    return state;
  }
  foresight::Transition step(const foresight::State& state, const foresight::Tensor& action,
                             foresight::Noise&) const override {
    const auto position = state.at("latent").select(-1, 0);
    const auto velocity = state.at("latent").select(-1, 1) + 0.1 * action;
    foresight::Transition transition;
    transition.next = foresight::State(state.batch_dims());
    transition.next.set("latent", at::stack({position + 0.1 * velocity, velocity}, -1));
    return transition;
  }

 private:
  foresight::ModelSpec spec_;
};

}  // namespace

int main() {
  const Cart model;
  foresight::PhiloxNoise noise(1);
  const auto state =
      model.observe(model.initial(1), {}, {"state", at::tensor({0.5F, 0.0F}).view({1, 2})}, noise);
  // Constant accelerations; the one that ends nearest to the origin after 1 s is -1 (closed form
  // 0.5 - 0.55).
  const auto candidates = at::linspace(-1, 1, 21).view({1, 21, 1, 1}).expand({1, 21, 10, 1});
  const auto future = model.rollout(state, candidates, noise);
  const auto end = future.states.at("latent").select(2, 9).select(-1, 0).squeeze(-1);
  const auto best = end.abs().argmin(1).item<int64_t>();
  std::printf("best acceleration %.1f ends at %.3f m\n", -1 + 0.1 * best,
              end.index({0, best}).item<double>());
  return best == 1 ? 0 : 1;
}
