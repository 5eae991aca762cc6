// SPDX-License-Identifier: Apache-2.0
// Linear layers of large networks, whose numbers come from a file or from initialise(). LibTorch's
// constructor draws every one of them first: of a ViT-g that is seconds and 4 GB of memory, which
// the file's own numbers then replace. Python skips it on the device "meta"; LibTorch in C++ has no
// such switch.
#pragma once

#include <ATen/ops/empty.h>
#include <torch/nn/modules/linear.h>

namespace foresight::nn {

/// torch::nn::Linear with the same parameters, but whatever was in their memory: large ones take
/// none until they are written. Only for modules that are always filled before they are used.
inline torch::nn::Linear unfilled_linear(const torch::nn::LinearOptions& options) {
  torch::nn::Linear layer(torch::nn::LinearOptions(1, 1).bias(options.bias()));
  layer->options = options;
  layer->weight.set_data(at::empty({options.out_features(), options.in_features()}));
  if (options.bias()) layer->bias.set_data(at::empty({options.out_features()}));
  return layer;
}

}  // namespace foresight::nn
