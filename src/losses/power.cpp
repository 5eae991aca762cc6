// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/power.hpp"

#include "foresight/core/error.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

Tensor power_distance(const Tensor& predicted, const Tensor& target, double exponent) {
  require(predicted.defined() && target.defined(), ErrorCategory::invalid_argument,
          "power distance of an undefined tensor");
  check_shape("prediction", predicted, target.sizes(), "the target's shape");
  require(exponent > 0, ErrorCategory::invalid_argument,
          "power distance: exponent = " + std::to_string(exponent) + " must be positive");
  const auto difference = (widened(predicted) - widened(target)).abs();
  if (exponent == 1.0) return difference.mean();
  return difference.pow(exponent).mean() / exponent;
}

}  // namespace foresight::losses
