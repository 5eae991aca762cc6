// SPDX-License-Identifier: Apache-2.0
// The slowly moving copy of a masked model's encoder that says what is to be predicted.
#pragma once

#include <memory>

#include "foresight/models/vjepa2.hpp"
#include "foresight/nn/state_dict.hpp"

namespace foresight::train {

/// A copy of the model's encoder, of its device and type, that requires no gradient.
inline std::shared_ptr<nn::VideoVit> target_encoder(const models::VJepa2& model) {
  auto target = std::make_shared<nn::VideoVit>(model.options().encoder);
  const auto like = model.parameters().front();
  target->to(like.device(), like.scalar_type());
  nn::copy_state(model.encoder(), *target);
  for (auto& parameter : target->parameters()) parameter.requires_grad_(false);
  return target;
}

}  // namespace foresight::train
