// SPDX-License-Identifier: Apache-2.0
// Slowness: consecutive latents should be close (the "temporal alignment" term of PLDM, arXiv
// 2502.14819).
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// mean (z_{t+1} - z_t)^2 of latents [B,T,D], T >= 2. Both sides carry gradient.
FORESIGHT_API Tensor temporal_similarity(const Tensor& z);

}  // namespace foresight::losses
