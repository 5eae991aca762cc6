// SPDX-License-Identifier: Apache-2.0
// Functor dynamics (planning/functor.hpp) as what planners and controllers take: a cost function,
// or a WorldModel.
#pragma once

#include <memory>
#include <string>

#include "foresight/core/options.hpp"
#include "foresight/core/world_model.hpp"
#include "foresight/planning/functor.hpp"
#include "foresight/planning/objective.hpp"

namespace foresight {

struct FORESIGHT_API FunctorOptions {
  int64_t threads = 1;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("threads", self.threads,
          "threads that share the candidates; 1: the caller's alone, 0: LibTorch's number");
  }
  std::vector<std::string> validate() const;
};

/// The shortest way from a functor to a plan: the cost of candidates [B,S,H,A] of normalised blocks
/// of `action`, imagined from `state` [B,NX] under `parameters` [B,NP], with nothing but their cost
/// kept. Its total is the sum of the functor's cost over all raw steps; where the functor has a
/// terminal cost, the terms are "stage" and "terminal". Candidates must be float or double, on the
/// CPU; gradients do not pass. Throws Error on sizes that do not fit the functor.
FORESIGHT_API CostFunction functor_cost(std::shared_ptr<const FunctorDynamics> dynamics,
                                        ActionSpace action, const Tensor& state,
                                        const Tensor& parameters = {}, FunctorOptions options = {});

/// The same dynamics as a world model. Observations are "state" [B,NX] and, for a functor with
/// parameters, "parameters" [B,NP]; the latent is the state itself, [...,1,NX]. A step's reward is
/// minus the functor's cost, summed over the block; as a Critic it values a state at minus the
/// terminal cost (0 without one). Float or double, on the CPU; gradients do not pass.
class FORESIGHT_API FunctorModel final : public WorldModel, public Critic {
 public:
  FunctorModel(std::shared_ptr<const FunctorDynamics> dynamics, ActionSpace action,
               FunctorOptions options = {});

  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override;
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;
  Tensor value(const State& state) const override;
  /// The functor has a terminal cost.
  bool has_terminal() const { return dynamics_->has_terminal(); }

 private:
  State state_of(Tensor latent, Tensor parameters) const;

  std::shared_ptr<const FunctorDynamics> dynamics_;
  ModelSpec spec_;
  FunctorOptions options_;
};

/// What the functor itself says of a future: its cost as the term "stage", and "terminal" where it
/// has one. Add terms of your own.
FORESIGHT_API Objective functor_objective(const std::shared_ptr<const FunctorModel>& model);

}  // namespace foresight
