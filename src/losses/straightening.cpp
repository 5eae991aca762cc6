// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/straightening.hpp"

#include "foresight/core/error.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

Tensor straightening(const Tensor& z) {
  check_shape("z", z, {kAny, kAny, kAny}, "[B,T,D]");
  require(z.size(1) >= 3, ErrorCategory::invalid_argument,
          "straightening of latents " + shape_string(z.sizes()) + " needs T >= 3");
  const auto wide = widened(z);
  const auto velocity = wide.slice(1, 1) - wide.slice(1, 0, -1);
  constexpr double kSmallestNorm = 1e-8;
  return -at::cosine_similarity(velocity.slice(1, 0, -1), velocity.slice(1, 1), -1, kSmallestNorm)
              .mean();
}

}  // namespace foresight::losses
