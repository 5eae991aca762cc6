// SPDX-License-Identifier: Apache-2.0
// Clipping by the norm of all gradients together, or of groups of them.
#pragma once

#include <optional>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::train {

/// Parameters whose gradients are clipped together.
struct ClippingGroup {
  std::vector<Tensor> parameters;
  std::optional<double> largest = {};  ///< norm, 0: no clipping; none: AdamWOptions.clip
};

/// Scales the gradients of `parameters` by largest / (norm + 1e-6) where that is below 1, as
/// torch's clip_grad_norm_ does; 0 for `largest` only measures. Parameters without gradient count
/// as zero. Returns the norm before.
FORESIGHT_API Tensor clip_gradient_norm(const std::vector<Tensor>& parameters, double largest);

}  // namespace foresight::train
