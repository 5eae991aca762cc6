// SPDX-License-Identifier: Apache-2.0
// The contract between models and everything that plans with them.
//
// WorldModel is a pure interface and not itself a torch module: an analytic model of a pendulum, or
// a robot's own C++ dynamics, is a world model without carrying parameters or including torch/nn.
// Learned models derive from both WorldModel and torch::nn::Module (see models/).
#pragma once

#include "foresight/core/model_spec.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/core/state.hpp"

namespace foresight {

/// One imagined transition, batch shape as the state's. The model owns reward timing: `reward` is
/// earned by *this* transition. Reward and discount are undefined tensors where a model has none.
struct Transition {
  State next;
  Tensor reward;
  Tensor discount;
};

/// An imagined future of every candidate. Step h is the state after action h.
struct Trajectory {
  Tensor actions;    ///< [B,S,H,A] normalised blocks
  State states;      ///< batch shape [B,S,H]; the fields named by ModelSpec::imagined
  Tensor rewards;    ///< [B,S,H] or undefined
  Tensor discounts;  ///< [B,S,H] or undefined
};

/// A learned or analytic model of how the world changes when one acts. Inference is const and never
/// mutates the model, so one instance serves several threads.
class FORESIGHT_API WorldModel {
 public:
  virtual ~WorldModel() = default;

  virtual const ModelSpec& spec() const = 0;

  /// The state before anything was observed, batch shape [batch], filled() = 0.
  virtual State initial(int64_t batch) const = 0;

  /// Takes in one observation. `last_action` [B,A] is the normalised block executed since
  /// `previous`; it may be undefined when previous.filled() == 0. Throws Error on a malformed
  /// observation.
  virtual State observe(const State& previous, const Tensor& last_action,
                        const Observation& observation, Noise& noise) const = 0;

  /// Imagines one step. The state has any batch shape [N...]; `action` is [N...,A].
  virtual Transition step(const State& state, const Tensor& action, Noise& noise) const = 0;

  /// Imagines all candidates: state [B], actions [B,S,H,A]. The default expands the state over S
  /// and loops step(); an override may be faster but must give the same result.
  virtual Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const;

  /// The latent [B,P,D] of an observation alone, as compared by goal costs. Default: observe() from
  /// initial().
  virtual Tensor encode(const Observation& observation, Noise& noise) const;

  /// The looped rollout, callable on any model: the reference that overrides are tested against.
  Trajectory looped_rollout(const State& state, const Tensor& actions, Noise& noise) const;
};

/// A reactive head (Mode-1 in LeCun's terms): proposes an action block for a state.
class FORESIGHT_API Policy {
 public:
  virtual ~Policy() = default;
  /// State of batch shape [N...] -> action [N...,A] (logits over symbols for discrete actions).
  virtual Tensor act(const State& state, Noise& noise) const = 0;
};

/// An evaluative head: the value (higher is better) of a state, batch shape [N...] -> [N...].
class FORESIGHT_API Critic {
 public:
  virtual ~Critic() = default;
  virtual Tensor value(const State& state) const = 0;
};

}  // namespace foresight
