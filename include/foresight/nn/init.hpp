// SPDX-License-Identifier: Apache-2.0
// Initial weights drawn from a Noise, so that a seed gives the same network on every device and
// whatever else the process has drawn from torch's global generator.
#pragma once

#include <torch/nn/module.h>

#include "foresight/core/noise.hpp"

namespace foresight::nn {

/// Fills a parameter in place from N(0, std^2).
FORESIGHT_API void init_normal(const Tensor& parameter, double std, Noise& noise);

/// Fills a parameter in place with a constant.
FORESIGHT_API void init_constant(const Tensor& parameter, double value);

/// torch's default for linear and convolution layers: weight [out, in, ...] and bias [out] from
/// U(-1/sqrt(fan_in), 1/sqrt(fan_in)). `bias` may be undefined.
FORESIGHT_API void init_uniform_fan_in(const Tensor& weight, const Tensor& bias, Noise& noise);

/// Applies init_uniform_fan_in() to every linear and convolution layer below `module` and sets
/// normalisation layers to the identity and their statistics to mean 0, variance 1. Other
/// parameters are left as they are.
FORESIGHT_API void init_layers(torch::nn::Module& module, Noise& noise);

}  // namespace foresight::nn
