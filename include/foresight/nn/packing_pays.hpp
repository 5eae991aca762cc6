// SPDX-License-Identifier: Apache-2.0
// Where packed weights are the faster ones.
#pragma once

#include "foresight/nn/packed_linear.hpp"
#include "foresight/nn/prepacked_linear.hpp"

namespace foresight::nn {

/// Whether a model whose weights are of `type` is expected to infer faster on this CPU once it is
/// packed. float32: where there are AVX2 or AVX-512. bfloat16: where the processor multiplies it.
inline bool packing_pays(at::ScalarType type) {
  if (type == at::kBFloat16) return PrepackedLinear::available();
  return type == at::kFloat && has_fast_packing();
}

}  // namespace foresight::nn
