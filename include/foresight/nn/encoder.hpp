// SPDX-License-Identifier: Apache-2.0
// What a latent world model needs of an image encoder: one vector per image.
#pragma once

#include <torch/nn/module.h>

#include "foresight/core/noise.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

/// Images to feature vectors. Derive from it to plug in an own encoder.
class FORESIGHT_API ImageEncoder : public torch::nn::Module {
 public:
  /// Normalised images [N,C,h,w] -> features [N, width()].
  virtual Tensor encode(const Tensor& images, Mode mode) const = 0;
  /// Width of a feature vector.
  virtual int64_t width() const = 0;
  /// From now on inference computes with packed weights what of it has such a form (nn/
  /// packed_linear.hpp); the default is nothing.
  virtual void use_packed(const Packing&) {}
  /// Frees them; the default is nothing.
  virtual void drop_packed() {}
  /// Draws new initial weights.
  virtual void initialise(Noise& noise) = 0;
};

}  // namespace foresight::nn
