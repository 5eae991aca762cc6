// SPDX-License-Identifier: Apache-2.0
// Linear layers in bfloat16 for inference on the CPU, whose weights oneDNN laid out for this
// processor once; LibTorch's own layers do it anew for every product, which takes longer than the
// product itself where a weight meets a few hundred rows.
#pragma once

#include "foresight/nn/activation.hpp"
#include "foresight/nn/frozen.hpp"
#include "foresight/nn/module.hpp"

namespace foresight::nn {

class FORESIGHT_API PrepackedLinear {
 public:
  /// Whether this processor multiplies bfloat16 (AVX512-BF16 or AMX) and this LibTorch has oneDNN.
  static bool available();
  /// Whether layers prepacked from `weights` are to compute in their place: for inference without
  /// gradients and autocast from x in bfloat16 on the CPU, while the weights are what they were.
  static bool computes(const Frozen& weights, const Tensor& x, Mode mode);

  /// weight [out,in], bias [out] or undefined, bfloat16 on the CPU. Throws Error(unsupported)
  /// unless available(), Error(invalid_argument) for another type or device.
  PrepackedLinear(const Tensor& weight, const Tensor& bias);

  /// bfloat16 [...,in] -> [...,out]: the activation of x W' + b, summed in float32 and rounded
  /// once. Throws Error(invalid_argument) for another width or type, Error(unsupported) for an
  /// activation other than identity and gelu.
  Tensor apply(const Tensor& x, Activation activation = Activation::identity) const;

 private:
  Tensor weight_, bias_;  // the weight is opaque: in oneDNN's layout
  int64_t in_;
};

}  // namespace foresight::nn
