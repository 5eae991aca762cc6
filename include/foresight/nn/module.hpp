// SPDX-License-Identifier: Apache-2.0
// The conventions of our torch modules: explicit train/infer mode in const forward functions, and
// registration under a dotted path, so that a flat C++ class has exactly the state-dict keys of a
// published checkpoint ("transformer.layers.3.attn.to_out.0.weight").
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/linear.h>
#include <torch/nn/modules/normalization.h>

#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// What a forward pass may do. `train` draws dropout masks (from torch's global generator, seeded
/// with torch::manual_seed) and uses and updates batch statistics; `infer` changes nothing and is
/// safe from several threads, whatever the module's training flag says.
enum class Mode { train, infer };

/// The mode that a module's own training flag asks for.
inline Mode mode_of(const torch::nn::Module& module) {
  return module.is_training() ? Mode::train : Mode::infer;
}

/// The submodule at a dotted path below `root`; missing ones are created empty.
FORESIGHT_API torch::nn::Module& scope(torch::nn::Module& root, std::string_view path);

/// Registers `module` at a dotted path below `root` and returns it.
template <class ModuleType>
ModuleType place(torch::nn::Module& root, std::string_view path, ModuleType module) {
  const auto dot = path.rfind('.');
  auto& parent = dot == std::string_view::npos ? root : scope(root, path.substr(0, dot));
  parent.register_module(std::string(path.substr(dot == std::string_view::npos ? 0 : dot + 1)),
                         module);
  return module;
}

/// at::linear(). In bfloat16 on a CPU without instructions for it the product is computed in
/// float32, from the same numbers, and rounded once: what such instructions do, and several times
/// faster than ATen's scalar loops there.
FORESIGHT_API Tensor apply_linear(const Tensor& x, const Tensor& weight, const Tensor& bias = {});

/// A linear layer or layer norm applied through its weights: unlike forward(), usable in const
/// functions.
inline Tensor through(const torch::nn::Linear& layer, const Tensor& x) {
  return apply_linear(x, layer->weight, layer->bias);
}
inline Tensor through(const torch::nn::LayerNorm& norm, const Tensor& x) {
  return at::layer_norm(x, norm->options.normalized_shape(), norm->weight, norm->bias,
                        norm->options.eps());
}
/// Inverted dropout in train mode, identity otherwise.
inline Tensor drop(const Tensor& x, double probability, Mode mode) {
  return mode == Mode::train && probability > 0 ? at::dropout(x, probability, /*train=*/true) : x;
}

}  // namespace foresight::nn
