// SPDX-License-Identifier: Apache-2.0
// A double integrator as a world model, written without torch modules: what planning and control
// are tested on.
#pragma once

#include "foresight/core/world_model.hpp"

namespace foresight {

/// State "latent" [p, v] per axis as [N...,1,4]; each raw action accelerates for dt. Observation
/// "proprio" [B,4].
class PointMass : public WorldModel {
 public:
  explicit PointMass(int64_t block = 1, double dt = 0.2) : dt_(dt) {
    spec_.family = "point_mass";
    spec_.observation = {{std::string(kProprio), {4}}};
    spec_.action.dim = 2;
    spec_.action.block = block;
    spec_.action.low = {-1.0, -1.0};
    spec_.action.high = {1.0, 1.0};
    spec_.channels = 4;
  }

  const ModelSpec& spec() const override { return spec_; }

  State initial(int64_t batch) const override {
    State state(1);
    state.set("latent", at::zeros({batch, 1, 4}));
    return state;
  }

  State observe(const State& previous, const Tensor&, const Observation& observation,
                Noise&) const override {
    State state(1);
    state.set("latent", observation.at(kProprio).unsqueeze(1));
    state.set_filled(std::min<int64_t>(previous.filled() + 1, spec_.history));
    return state;
  }

  Transition step(const State& state, const Tensor& action, Noise&) const override {
    const auto raw = spec_.action.denormalise(action);  // [N...,block,2]
    auto latent = state.at("latent").squeeze(-2);
    auto p = latent.narrow(-1, 0, 2), v = latent.narrow(-1, 2, 2);
    for (int64_t k = 0; k < spec_.action.block; ++k) {
      v = v + dt_ * raw.select(-2, k);
      p = p + dt_ * v;
    }
    Transition transition;
    transition.next = State(state.batch_dims());
    transition.next.set("latent", at::cat({p, v}, -1).unsqueeze(-2));
    transition.reward = -p.square().sum(-1);
    transition.discount = at::full_like(transition.reward, 0.9);
    return transition;
  }

  /// The real thing: one raw action [B,2] applied to [B,4].
  Tensor advance(const Tensor& state, const Tensor& raw) const {
    const auto v = state.narrow(1, 2, 2) + dt_ * raw;
    return at::cat({state.narrow(1, 0, 2) + dt_ * v, v}, 1);
  }

  ModelSpec& mutable_spec() { return spec_; }

 private:
  ModelSpec spec_;
  double dt_;
};

}  // namespace foresight
