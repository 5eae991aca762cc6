// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/ema.hpp"

#include "foresight/core/error.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::nn {

void ema_update(torch::nn::Module& target, const torch::nn::Module& online, double momentum) {
  at::NoGradGuard no_grad;
  require(momentum >= 0 && momentum <= 1, ErrorCategory::invalid_argument,
          "ema_update: momentum = " + std::to_string(momentum) + " must be in [0, 1]");
  const auto slow = target.named_parameters(), fast = online.named_parameters();
  require(slow.size() == fast.size(), ErrorCategory::invalid_argument,
          "ema_update: the networks differ: " + std::to_string(slow.size()) + " and " +
              std::to_string(fast.size()) + " parameters");
  std::vector<Tensor> targets, values;
  for (const auto& item : slow) {
    const auto* value = fast.find(item.key());
    require(value && value->sizes() == item.value().sizes(), ErrorCategory::invalid_argument,
            "ema_update: the networks differ in parameter '" + item.key() + "'");
    targets.push_back(item.value());
    values.push_back(*value);
  }
  // Two roundings, as in the usual update target.mul_(m).add_((1 - m) * online).
  at::_foreach_mul_(targets, momentum);
  at::_foreach_add_(targets, at::_foreach_mul(values, 1.0 - momentum));
  const auto state = online.named_buffers();
  for (const auto& buffer : target.named_buffers())
    if (const auto* value = state.find(buffer.key())) buffer.value().copy_(*value);
}

}  // namespace foresight::nn
