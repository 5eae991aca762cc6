// SPDX-License-Identifier: Apache-2.0
// The pictures that a masked model learns from.
#pragma once

#include "foresight/models/vjepa2.hpp"
#include "foresight/train/augmentation.hpp"

namespace foresight::train {

/// What the model's network is shown of pixels [B,T,H,W,3]: in training, where `changes` crop at
/// random, all of the crop, scaled to the network's size, as published. Otherwise, and of held-out
/// windows, what model.options().image says: the evaluation of an imported model cuts the margins
/// off, and would cut a crop once more.
inline Tensor learned_pictures(const models::VJepa2& model, const Tensor& pixels,
                               const AugmentationOptions& changes) {
  auto image = model.options().image;
  const bool whole = image.resize == models::ResizeRule::stretch && image.max_aspect == 0;
  if (whole || !model.is_training() || !changes.crops()) return model.preprocess(pixels);
  image.resize = models::ResizeRule::stretch;
  image.resize_edge = 0;
  image.max_aspect = 0;
  const auto like = model.parameters().front().options().requires_grad(false);
  const auto clips = models::preprocess_images(pixels.flatten(0, 1), image, like)
                         .unflatten(0, {pixels.size(0), pixels.size(1)})
                         .transpose(1, 2);
  return model.options().encoder.is_picture() ? clips.squeeze(2) : clips;
}

}  // namespace foresight::train
