// SPDX-License-Identifier: Apache-2.0
// Tiny Jepa models with nothing left at zero, and pictures to feed them.
#pragma once

#include <memory>
#include <string>

#include "foresight/models/jepa.hpp"
#include "foresight/nn/init.hpp"
#include "test_device.hpp"

namespace foresight {

inline models::JepaOptions tiny_jepa_options(models::EncoderKind encoder,
                                             models::PredictorKind predictor, int64_t history) {
  models::JepaOptions options;
  options.image.size = 16;
  options.encoder = encoder;
  options.vit = {.patch = 8, .width = 12, .depth = 2, .heads = 2, .mlp_width = 16};
  options.cnn = {.channels = {4, 6}, .width = 10};
  options.projector.hidden = 14;
  options.latent = 6;
  options.action_encoder = {.width = 5, .narrow = 4, .expansion = 2};
  options.predictor = predictor;
  options.adaln = {
      .depth = 2, .width = 8, .heads = 2, .head_width = 4, .mlp_width = 12, .dropout = 0.1};
  options.mlp = {.hidden = {16, 12}};
  options.pred_proj.hidden = 9;
  options.history = history;
  options.action.dim = 2;
  options.action.block = 2;
  options.loss.sigreg_options.projections = 16;
  return options;
}

/// A model whose parameters and statistics are all random, in inference mode.
inline std::shared_ptr<models::Jepa> jepa_under_test(const models::JepaOptions& options) {
  auto model = std::make_shared<models::Jepa>(options, 1);
  PhiloxNoise noise(2);
  for (const auto& parameter : model->named_parameters())
    nn::init_normal(parameter.value(), 0.4, noise);
  for (const auto& buffer : model->named_buffers()) {
    if (buffer.key().ends_with("running_mean")) nn::init_normal(buffer.value(), 0.3, noise);
    if (buffer.key().ends_with("running_var"))
      buffer.value().copy_(noise.uniform(buffer.value().sizes()) + 0.5);
  }
  model->to(test_device());
  model->eval();
  return model;
}

/// RGB noise [..., 16, 16, 3].
inline Tensor random_pixels(std::vector<int64_t> shape, std::uint64_t seed) {
  shape.insert(shape.end(), {16, 16, 3});
  return PhiloxNoise(seed).integers(256, shape).to(at::kByte);
}

inline Observation pixel_observation(int64_t batch, std::uint64_t seed) {
  return Observation(kPixels, random_pixels({batch}, seed));
}

}  // namespace foresight
