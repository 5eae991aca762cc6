// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/patch_embedding.hpp"

namespace foresight::nn {

PatchEmbedding::PatchEmbedding(int64_t channels, int64_t patch, int64_t width)
    : channels_(channels), patch_(patch) {
  projection_ =
      place(*this, "projection",
            torch::nn::Conv2d(torch::nn::Conv2dOptions(channels, width, patch).stride(patch)));
}

Tensor PatchEmbedding::forward(const Tensor& images) const {
  check_shape("images", images, {kAny, channels_, kAny, kAny}, "[N,C,h,w]");
  require(images.size(2) >= patch_ && images.size(3) >= patch_, ErrorCategory::invalid_argument,
          "images " + shape_string(images.sizes()) + " are smaller than one patch of " +
              std::to_string(patch_) + " pixels");
  return at::conv2d(images, projection_->weight, projection_->bias, {patch_, patch_})
      .flatten(2)
      .transpose(1, 2);
}

}  // namespace foresight::nn
