// SPDX-License-Identifier: Apache-2.0
// Tiny DinoWm models with nothing left at zero, and observations to feed them.
#pragma once

#include <memory>

#include "foresight/models/dino_wm.hpp"
#include "foresight/nn/init.hpp"
#include "test_device.hpp"

namespace foresight {

/// Pictures of 16 pixels, four patches, with `proprio` numbers of proprioception.
inline models::DinoWmOptions tiny_dino_wm_options(nn::ActionConditioning conditioning,
                                                  int64_t history, int64_t proprio) {
  const bool token = conditioning == nn::ActionConditioning::token;
  models::DinoWmOptions options;
  options.image.size = 16;
  options.encoder = {.patch = 8,
                     .width = 6,
                     .depth = 1,
                     .heads = 2,
                     .mlp_width = 8,
                     .norm_epsilon = 1e-6,
                     .registers = 1,
                     .layer_scale = true,
                     .positions = nn::PositionResize::bicubic_antialiased};
  options.encoder_image_size = 24;
  options.proprio.dim = proprio;
  options.proprio.width = token ? 6 : 4;
  options.proprio.repeat = token ? 1 : 2;
  options.predictor = {
      .conditioning = conditioning, .depth = 2, .heads = 2, .head_width = 4, .mlp_width = 10};
  options.action_width = token ? 6 : 3;
  options.action_repeat = conditioning == nn::ActionConditioning::feature ? 2 : 1;
  options.history = history;
  options.action.dim = 2;
  options.action.block = 2;
  if (proprio > 0) {
    options.proprio.mean.assign(static_cast<std::size_t>(proprio), 0.5);
    options.proprio.std.assign(static_cast<std::size_t>(proprio), 2.0);
  }
  return options;
}

/// A model whose parameters are all random, in inference mode.
inline std::shared_ptr<models::DinoWm> dino_wm_under_test(const models::DinoWmOptions& options) {
  auto model = std::make_shared<models::DinoWm>(options, 1);
  PhiloxNoise noise(2);
  for (auto& parameter : model->parameters()) nn::init_normal(parameter, 0.4, noise);
  model->to(test_device());
  model->eval();
  return model;
}

/// RGB noise and, if wanted, random proprioception.
inline Observation dino_wm_observation(int64_t batch, std::uint64_t seed, int64_t proprio) {
  PhiloxNoise noise(seed);
  Observation observation(kPixels, noise.integers(256, {batch, 16, 16, 3}).to(at::kByte));
  if (proprio > 0) observation.set(kProprio, noise.normal({batch, proprio}));
  return observation;
}

}  // namespace foresight
