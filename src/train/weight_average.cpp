// SPDX-License-Identifier: Apache-2.0
#include "weight_average.hpp"

#include <torch/nn/module.h>

#include <algorithm>
#include <set>

namespace foresight::train {

WeightAverage::WeightAverage(const torch::nn::Module& module, double decay) : decay_(decay) {
  std::set<const void*> seen;
  for (const auto& item : module.named_parameters()) {
    const auto& weight = item.value();
    if (!weight.requires_grad() || !seen.insert(weight.unsafeGetTensorImpl()).second) continue;
    names_.push_back(item.key());
    weights_.push_back(weight);
    average_.push_back(weight.detach().clone());
  }
}

void WeightAverage::update(int64_t updates) {
  c10::NoGradGuard no_grad;
  const auto n = static_cast<double>(updates);
  const double decay = std::min(decay_, (1 + n) / (10 + n));
  at::_foreach_lerp_(average_, weights_, 1 - decay);
}

void WeightAverage::exchange() {
  c10::NoGradGuard no_grad;
  for (std::size_t i = 0; i < weights_.size(); ++i) {
    const auto weight = weights_[i].detach().clone();
    weights_[i].copy_(average_[i]);
    average_[i].copy_(weight);
  }
}

io::NamedTensors WeightAverage::state() const {
  io::NamedTensors state;
  for (std::size_t i = 0; i < names_.size(); ++i) state.emplace_back(names_[i], average_[i]);
  return state;
}

}  // namespace foresight::train
