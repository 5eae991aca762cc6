// SPDX-License-Identifier: Apache-2.0
// The width in which losses are computed. Eight bits of a bfloat16 hide the progress that a
// training makes between two validations, and every gradient passes through the loss's own number.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// `x` in float32 if it is of a half-width type, otherwise `x` itself.
inline Tensor widened(const Tensor& x) {
  return at::isReducedFloatingType(x.scalar_type()) ? x.to(at::kFloat) : x;
}

}  // namespace foresight::losses
