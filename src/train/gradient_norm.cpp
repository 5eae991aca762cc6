// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/gradient_norm.hpp"

#include <c10/core/GradMode.h>

namespace foresight::train {

Tensor clip_gradient_norm(const std::vector<Tensor>& parameters, double largest) {
  c10::NoGradGuard no_grad;
  std::vector<Tensor> gradients;
  for (const auto& parameter : parameters)
    if (parameter.grad().defined()) gradients.push_back(parameter.grad());
  if (gradients.empty()) return at::zeros({});
  const auto norm = at::stack(at::_foreach_norm(gradients)).norm();
  if (largest > 0) {
    const auto factor = at::clamp_max(largest / (norm + 1e-6), 1.0);
    // Times NaN or 0 all gradients would hide which of them is to blame.
    at::_foreach_mul_(gradients, at::where(at::isfinite(norm), factor, at::ones_like(factor)));
  }
  return norm;
}

}  // namespace foresight::train
