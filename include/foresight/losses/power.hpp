// SPDX-License-Identifier: Apache-2.0
// The regression losses of the V-JEPA family: a power of the absolute difference.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// mean |predicted - target|^exponent / exponent over all elements; exponent 1 is V-JEPA's L1.
/// Shapes must agree, exponent > 0.
FORESIGHT_API Tensor power_distance(const Tensor& predicted, const Tensor& target, double exponent);

}  // namespace foresight::losses
