// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/adamw.hpp"

#include <torch/nn/module.h>

#include <set>

#include "foresight/io/load_tensors.hpp"
#include "foresight/train/gradient_norm.hpp"

namespace foresight::train {

std::vector<std::string> AdamWOptions::validate() const {
  return Rules("AdamWOptions")
      .check(lr > 0, "lr", lr, "must be > 0")
      .check(weight_decay >= 0, "weight_decay", weight_decay, "must be >= 0")
      .check(beta1 >= 0 && beta1 < 1, "beta1", beta1, "must be in [0, 1)")
      .check(beta2 >= 0 && beta2 < 1, "beta2", beta2, "must be in [0, 1)")
      .check(epsilon > 0, "epsilon", epsilon, "must be > 0")
      .check(clip >= 0, "clip", clip, "must be >= 0")
      .problems();
}

AdamW::AdamW(const torch::nn::Module& module, const AdamWOptions& options,
             std::vector<ClippingGroup> clipping_groups)
    : options_(options), clipping_groups_(std::move(clipping_groups)) {
  require_valid(options_);
  std::set<const void*> seen;
  for (const auto& item : module.named_parameters()) {
    const auto& parameter = item.value();
    if (!parameter.requires_grad() || !seen.insert(parameter.unsafeGetTensorImpl()).second)
      continue;
    names_.push_back(item.key());
    parameters_.push_back(parameter);
    first_.push_back(at::zeros_like(parameter).detach());
    second_.push_back(at::zeros_like(parameter).detach());
    parameter_steps_.push_back(at::zeros({}, parameter.options().dtype(at::kFloat)).detach());
  }
  require(!parameters_.empty(), ErrorCategory::invalid_argument,
          "AdamW: the module has no parameter that requires a gradient");
  for (const auto& group : clipping_groups_)
    require(group.largest.value_or(0) >= 0, ErrorCategory::invalid_argument,
            "ClippingGroup.largest = " + std::to_string(*group.largest) + " must be >= 0");
}

Tensor AdamW::step(double factor, double decay_factor) {
  c10::NoGradGuard no_grad;
  // Two groups differ only in whether they decay; each is one fused call.
  struct Group {
    std::vector<Tensor> parameters, gradients, first, second, steps;
  };
  Group decaying, plain;
  for (std::size_t i = 0; i < parameters_.size(); ++i) {
    auto gradient = parameters_[i].grad();
    if (!gradient.defined()) continue;
    auto& group = options_.decay == Decay::all || parameters_[i].dim() >= 2 ? decaying : plain;
    group.parameters.push_back(parameters_[i]);
    group.gradients.push_back(gradient);
    group.first.push_back(first_[i]);
    group.second.push_back(second_[i]);
    group.steps.push_back(parameter_steps_[i]);
  }
  if (decaying.parameters.empty() && plain.parameters.empty())
    return at::zeros({}, parameters_.front().scalar_type());

  // Read once: every reading waits for a GPU, and one after the update would for the update.
  const bool together = clipping_groups_.empty();
  const auto norm = clip_gradient_norm(parameters_, together ? options_.clip : 0).cpu();
  if (!at::isfinite(norm).item<bool>()) return norm;
  for (const auto& group : clipping_groups_)
    if (const auto largest = group.largest.value_or(options_.clip); largest > 0)
      clip_gradient_norm(group.parameters, largest);
  for (auto* group : {&decaying, &plain}) {
    if (group->parameters.empty()) continue;
    at::_foreach_add_(group->steps, 1);
    at::_fused_adamw_(group->parameters, group->gradients, group->first, group->second, {},
                      group->steps, options_.lr * factor, options_.beta1, options_.beta2,
                      group == &decaying ? options_.weight_decay * decay_factor : 0.0,
                      options_.epsilon,
                      /*amsgrad=*/false, /*maximize=*/false);
  }
  zero_grad();
  ++steps_;
  return norm;
}

void AdamW::zero_grad() {
  for (auto& parameter : parameters_) parameter.mutable_grad() = Tensor();
}

io::NamedTensors AdamW::state() const {
  io::NamedTensors state;
  for (std::size_t i = 0; i < names_.size(); ++i) {
    state.emplace_back(names_[i] + ".first", first_[i]);
    state.emplace_back(names_[i] + ".second", second_[i]);
    state.emplace_back(names_[i] + ".steps", parameter_steps_[i]);
  }
  return state;
}

void AdamW::load(const io::NamedTensors& given, std::string_view source) {
  c10::NoGradGuard no_grad;
  io::load_into(state(), given, source);
  for (const auto& steps : parameter_steps_)
    steps_ = std::max(steps_, static_cast<int64_t>(steps.item<float>()));
}

}  // namespace foresight::train
