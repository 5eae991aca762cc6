// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/prediction.hpp"

#include "foresight/core/error.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {

Tensor prediction(const Tensor& predicted, const Tensor& target, Distance distance) {
  require(predicted.defined() && target.defined(), ErrorCategory::invalid_argument,
          "prediction loss of an undefined tensor");
  check_shape("prediction", predicted, target.sizes(), "the target's shape");
  const auto from = widened(predicted), to = widened(target);
  switch (distance) {
    case Distance::l2:
      return (from - to).square().mean();
    case Distance::l1:
      return (from - to).abs().mean();
    case Distance::smooth_l1:
      return at::smooth_l1_loss(from, to);
  }
  throw Error(ErrorCategory::invalid_option, "unknown distance");
}

Tensor multi_step_prediction(const std::vector<Tensor>& predicted,
                             const std::vector<Tensor>& target, Distance distance,
                             double discount) {
  require(!predicted.empty() && predicted.size() == target.size(), ErrorCategory::invalid_argument,
          "multi-step prediction: " + std::to_string(predicted.size()) + " predictions for " +
              std::to_string(target.size()) + " targets, expected as many and at least one");
  require(discount > 0, ErrorCategory::invalid_argument,
          "multi-step prediction: discount = " + std::to_string(discount) + " must be positive");
  Tensor sum;
  double factor = 1.0, factors = 0.0;
  for (std::size_t k = 0; k < predicted.size(); ++k) {
    const auto term = prediction(predicted[k], target[k], distance) * factor;
    sum = sum.defined() ? sum + term : term;
    factors += factor;
    factor *= discount;
  }
  return sum / factors;
}

}  // namespace foresight::losses
