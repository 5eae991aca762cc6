// SPDX-License-Identifier: Apache-2.0
// A target network that follows another one slowly: the exponential moving average of its weights.
#pragma once

#include <torch/nn/module.h>

#include "foresight/core/export.hpp"

namespace foresight::nn {

/// target = momentum * target + (1 - momentum) * online, over all parameters (buffers are copied).
/// Two modules of the same structure, else Error(invalid_argument). Records no gradient.
FORESIGHT_API void ema_update(torch::nn::Module& target, const torch::nn::Module& online,
                              double momentum);

}  // namespace foresight::nn
