// SPDX-License-Identifier: Apache-2.0
// Temporal straightening (arXiv 2603.12231): consecutive latent velocities should point the same
// way, which makes distances in latent space a better guide for planning.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// - mean cos(v_t, v_{t+1}), v_t = z_{t+1} - z_t, of latents [B,T,D], T >= 3. Each norm is at least
/// 1e-8, so a zero velocity counts as cosine 0; next to a non-zero one its gradient is of the order
/// 1e8: clip gradients.
FORESIGHT_API Tensor straightening(const Tensor& z);

}  // namespace foresight::losses
