// SPDX-License-Identifier: Apache-2.0
// Where packed weights are the faster ones.
#pragma once

#include <ATen/Version.h>

#include "foresight/nn/packed_linear.hpp"
#include "foresight/nn/prepacked_linear.hpp"

namespace foresight::nn {

/// Whether a model whose weights are of `type` is expected to infer faster on this CPU once it is
/// packed. float32: where LibTorch computes with AVX2; with AVX-512 its products are twice as wide
/// as the packed ones (a rollout of LeWM took 1134 ms packed where stable-worldmodel's took 997).
/// bfloat16: where the processor multiplies it.
inline bool packing_pays(at::ScalarType type) {
  if (type == at::kBFloat16) return PrepackedLinear::available();
  return type == at::kFloat && has_fast_packing() && at::get_cpu_capability() == "AVX2";
}

}  // namespace foresight::nn
