// SPDX-License-Identifier: Apache-2.0
// Image to patch tokens: a convolution whose stride is its kernel (Dosovitskiy et al., "An image is
// worth 16x16 words", ICLR 2021). State-dict keys: projection.{weight,bias}.
#pragma once

#include <torch/nn/modules/conv.h>

#include "foresight/nn/module.hpp"

namespace foresight::nn {

class FORESIGHT_API PatchEmbedding : public torch::nn::Module {
 public:
  PatchEmbedding(int64_t channels, int64_t patch, int64_t width);

  /// [N,C,h,w] -> [N, (h/patch)*(w/patch), width], row-major. Pixels beyond the last whole patch
  /// are ignored.
  Tensor forward(const Tensor& images) const;

  int64_t patch() const noexcept { return patch_; }

 private:
  int64_t channels_, patch_;
  torch::nn::Conv2d projection_{nullptr};
};

}  // namespace foresight::nn
