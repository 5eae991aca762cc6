// SPDX-License-Identifier: Apache-2.0
// LeWM at its published size with random weights: what a plan costs does not depend on what the
// network has learned.
#pragma once

#include <cmath>

#include "foresight/models/jepa.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::benchmark {

/// A whole LeWM. Every tensor random: with initial weights the gates of the predictor are zero, and all candidates
/// would cost the same.
inline std::shared_ptr<models::Jepa> random_lewm() {
  auto model = std::make_shared<models::Jepa>(models::JepaOptions::lewm());
  model->eval();
  PhiloxNoise noise(1);
  at::NoGradGuard no_grad;
  for (auto& [name, tensor] : nn::state_dict(*model)) {
    if (!tensor.is_floating_point()) continue;
    const auto draw = noise.normal(tensor.sizes());
    const double fan_in =
        static_cast<double>(tensor.numel() / std::max<int64_t>(1, tensor.size(0)));
    if (name.ends_with("running_var"))
      tensor.copy_(0.5 + draw.abs());
    else if (name.ends_with("bias"))
      tensor.copy_(0.05 * draw);
    else if (name.ends_with("weight") && tensor.dim() == 1)
      tensor.copy_(1 + 0.1 * draw);
    else if (name.ends_with("weight"))
      tensor.copy_(draw / std::sqrt(fan_in));
    else
      tensor.copy_(0.2 * draw);
  }
  return model;
}

}  // namespace foresight::benchmark
