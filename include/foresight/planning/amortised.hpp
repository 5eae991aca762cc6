// SPDX-License-Identifier: Apache-2.0
// Amortised planning: what a network learnt about acting proposes candidates, and the planner
// decides between them and its own samples. Both functions fill Problem::proposals.
#pragma once

#include <functional>

#include "foresight/core/world_model.hpp"

namespace foresight {

/// [B,count,H,A] plans of a policy, rolled through the model from `state` (batch [B]), as TD-MPC2
/// puts them among its samples. Plan 0 follows the policy itself. The others add `spread` times
/// standard normal noise to every block, and what follows reacts to it; discrete policies, whose
/// output is logits, are sampled at temperature `spread` instead (Gumbel-max). Blocks are clamped
/// to the limits. Draw order: per step the policy's draws, then the noise [B,count,A], then the
/// model's. No gradients are kept. Throws Error(invalid_argument) unless horizon, count >= 1 and
/// spread >= 0.
FORESIGHT_API Tensor policy_proposals(const WorldModel& model, const State& state,
                                      const Policy& policy, int64_t horizon, int64_t count,
                                      double spread, Noise& noise);

/// The block [N,A] that leads from one latent to another, [N,P,D] each, one model step apart.
using InverseDynamics = std::function<Tensor(const Tensor& from, const Tensor& to)>;

/// [B,count,H,A] plans along the straight line to `goal` [B,P,D]: at each of H steps inverse
/// dynamics is asked for the block that covers an equal share of what is left of the way from the
/// latent that the model imagines, so that its errors are corrected on the way rather than added
/// up. `latent` names the state's field [B,P,D]. Otherwise as policy_proposals().
FORESIGHT_API Tensor inverse_dynamics_proposals(const WorldModel& model, const State& state,
                                                const Tensor& goal, const InverseDynamics& inverse,
                                                int64_t horizon, int64_t count, double spread,
                                                Noise& noise, std::string_view latent = "latent");

}  // namespace foresight
