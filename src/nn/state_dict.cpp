// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/state_dict.hpp"

namespace foresight::nn {

io::NamedTensors state_dict(const torch::nn::Module& module) {
  io::NamedTensors result;
  // Submodule by submodule, each with parameters then buffers: the order of a Python state dict.
  const auto collect = [&result](const std::string& prefix, const torch::nn::Module& owner) {
    for (const auto& item : owner.named_parameters(/*recurse=*/false))
      result.emplace_back(prefix + item.key(), item.value());
    for (const auto& item : owner.named_buffers(/*recurse=*/false))
      result.emplace_back(prefix + item.key(), item.value());
  };
  collect("", module);
  for (const auto& child : module.named_modules(std::string(), /*include_self=*/false))
    collect(child.key() + ".", *child.value());
  return result;
}

void load_state_dict(torch::nn::Module& module, const io::NamedTensors& tensors,
                     std::string_view source, io::Placement placement) {
  io::load_into(state_dict(module), tensors, source, io::DtypeRule::same_kind, placement);
}

void copy_state(const torch::nn::Module& from, torch::nn::Module& to) {
  const auto source = state_dict(from);
  load_state_dict(to, source, "copy_state");
  const auto flags = from.named_parameters();
  for (auto& parameter : to.named_parameters())
    parameter.value().requires_grad_(flags[parameter.key()].requires_grad());
  to.train(from.is_training());
}

int64_t parameter_count(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& parameter : module.parameters())
    if (parameter.requires_grad()) count += parameter.numel();
  return count;
}

}  // namespace foresight::nn
