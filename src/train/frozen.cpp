// SPDX-License-Identifier: Apache-2.0
#include "frozen.hpp"

#include <fmt/format.h>
#include <fnmatch.h>
#include <torch/nn/module.h>

#include <algorithm>

#include "foresight/core/error.hpp"

namespace foresight::train {

FrozenParameters::FrozenParameters(torch::nn::Module& module,
                                   const std::vector<std::string>& patterns) {
  const auto parameters = module.named_parameters();
  // All patterns are checked before the first flag changes.
  std::vector<Tensor> chosen;
  for (const auto& pattern : patterns) {
    const auto before = chosen.size();
    for (const auto& item : parameters)
      if (fnmatch(pattern.c_str(), item.key().c_str(), 0) == 0) chosen.push_back(item.value());
    if (chosen.size() > before) continue;
    std::vector<std::string> known;
    for (const auto& item : parameters) known.push_back(item.key());
    constexpr std::size_t kShown = 12;
    const auto shown = std::min(known.size(), kShown);
    known.resize(shown);
    throw Error(ErrorCategory::invalid_option,
                fmt::format("TrainOptions.freeze: '{}' fits none of the {} parameters: {}{}",
                            pattern, parameters.size(), fmt::join(known, ", "),
                            parameters.size() > shown ? ", ..." : ""));
  }
  for (auto& parameter : chosen) {
    if (!parameter.requires_grad()) continue;  // frozen by the model or by an earlier pattern
    parameter.requires_grad_(false);
    frozen_.push_back(parameter);
  }
}

FrozenParameters::~FrozenParameters() {
  for (auto& parameter : frozen_) parameter.requires_grad_(true);
}

}  // namespace foresight::train
