// SPDX-License-Identifier: Apache-2.0
// The slowly moving copy of a masked model's encoder that says what is to be predicted.
#pragma once

#include <memory>

#include "../models/copies.hpp"
#include "foresight/models/vjepa2.hpp"

namespace foresight::train {

/// A copy of the model's encoder, of its device and type, that requires no gradient.
inline std::shared_ptr<nn::VideoVit> target_encoder(const models::VJepa2& model) {
  auto target =
      models::filled_from(model.encoder(), std::make_shared<nn::VideoVit>(model.options().encoder),
                          model.parameters().front().options());
  for (auto& parameter : target->parameters()) parameter.requires_grad_(false);
  return target;
}

}  // namespace foresight::train
