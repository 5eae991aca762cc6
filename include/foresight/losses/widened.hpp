// SPDX-License-Identifier: Apache-2.0
// The width in which losses are computed. Eight bits of a bfloat16 hide the progress that a
// training makes between two validations, and every gradient passes through the loss's own number.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// The type of widened(x).
inline at::ScalarType widened_type(const Tensor& x) {
  return at::isReducedFloatingType(x.scalar_type()) ? at::kFloat : x.scalar_type();
}

/// `x` in float32 if it is of a half-width type, otherwise `x` itself.
inline Tensor widened(const Tensor& x) { return x.to(widened_type(x)); }

}  // namespace foresight::losses
