// SPDX-License-Identifier: Apache-2.0
// Where packed float32 weights are the faster ones.
#pragma once

#include <ATen/Version.h>

#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

/// Whether packed float32 is expected to be faster than LibTorch's own layers: where both compute
/// with AVX2. With AVX-512 LibTorch's products are twice as wide as the packed ones (a rollout of
/// LeWM took 1134 ms packed where stable-worldmodel's took 997).
inline bool packing_pays() { return has_fast_packing() && at::get_cpu_capability() == "AVX2"; }

}  // namespace foresight::nn
