// SPDX-License-Identifier: Apache-2.0
// Filling a freshly built module with the tensors of a bundle.
#pragma once

#include <ATen/ops/empty.h>
#include <torch/nn/module.h>

#include <string>

#include "foresight/nn/state_dict.hpp"

namespace foresight::models {

/// Puts `tensors` strictly into `module`, which takes the floating type they were saved in (of
/// several, one that holds all), so that nothing is rounded, and goes into inference mode.
template <class Module>
void fill_from_bundle(Module& module, const io::NamedTensors& tensors, const std::string& source,
                      io::Placement placement = io::Placement::copy) {
  auto type = at::ScalarType::Undefined;
  for (const auto& [name, tensor] : tensors) {
    const auto own = tensor.scalar_type();
    if (at::isFloatingType(own))
      type = type == at::ScalarType::Undefined ? own : c10::promoteTypes(type, own);
  }
  // Not Module::to(), which would write all of them once more before they are filled or shared.
  if (type != at::ScalarType::Undefined)
    for (auto& [name, own] : nn::state_dict(module))
      if (own.is_floating_point() && own.scalar_type() != type)
        own.set_data(at::empty(own.sizes(), own.options().dtype(type)));
  nn::load_state_dict(module, tensors, source, placement);
  module.eval();
}

}  // namespace foresight::models
