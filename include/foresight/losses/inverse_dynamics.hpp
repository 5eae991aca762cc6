// SPDX-License-Identifier: Apache-2.0
// Inverse dynamics: the action must be readable from two consecutive latents, so that the encoder
// keeps what the agent controls (PLDM, arXiv 2502.14819).
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// Which of two consecutive latents the head reads first.
enum class PairOrder {
  next_first,     ///< PLDM as in stable-worldmodel
  current_first,  ///< EB-JEPA
};

/// What the head reads: [next latent | current latent] or the reverse, [B,T-1,2D] from latents
/// [B,T,D], T >= 2.
FORESIGHT_API Tensor inverse_dynamics_input(const Tensor& z,
                                            PairOrder order = PairOrder::next_first);

/// Mean squared error of predicted blocks [B,T-1,A]; the targets carry no gradient.
FORESIGHT_API Tensor inverse_dynamics(const Tensor& predicted, const Tensor& blocks);

}  // namespace foresight::losses
