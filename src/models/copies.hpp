// SPDX-License-Identifier: Apache-2.0
// Independent models with the same weights.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "foresight/nn/state_dict.hpp"

namespace foresight::models {

/// `twin`, a model of the same structure, with the weights and flags of `model`, of the type and
/// device of `like`.
template <class Model>
std::shared_ptr<Model> filled_from(const Model& model, std::shared_ptr<Model> twin,
                                   const at::TensorOptions& like) {
  twin->to(like.device(), c10::typeMetaToScalarType(like.dtype()));
  nn::copy_state(model, *twin);
  return twin;
}

/// A model of the same options, weights, flags, and of the type and device of `like`.
template <class Model>
std::shared_ptr<Model> copy_of(const Model& model, const at::TensorOptions& like) {
  return filled_from(model, std::make_shared<Model>(model.options(), std::nullopt), like);
}

/// copy(), moved to `device` if one is given: what Module::clone() promises.
template <class Model>
std::shared_ptr<torch::nn::Module> clone_of(const Model& model,
                                            const std::optional<torch::Device>& device) {
  auto twin = model.copy();
  if (device) twin->to(*device);
  return twin;
}

}  // namespace foresight::models
