// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/temporal.hpp"

#include "foresight/core/error.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

Tensor temporal_similarity(const Tensor& z) {
  check_shape("z", z, {kAny, kAny, kAny}, "[B,T,D]");
  require(z.size(1) >= 2, ErrorCategory::invalid_argument,
          "temporal similarity of latents " + shape_string(z.sizes()) + " needs T >= 2");
  const auto wide = widened(z);
  return (wide.slice(1, 1) - wide.slice(1, 0, -1)).square().mean();
}

}  // namespace foresight::losses
