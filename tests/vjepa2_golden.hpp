// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 models built from the settings and weights of a fixture.
#pragma once

#include <memory>
#include <string>

#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"
#include "vjepa2_golden_nn.hpp"

namespace foresight {

/// Encoder and predictor of a fixture that has both.
inline models::VJepa2Options golden_vjepa2_options(const nlohmann::json& config) {
  models::VJepa2Options options;
  options.encoder = golden_video_vit_options(config.at("encoder"), golden_norm_epsilon(config));
  options.image.size = options.encoder.image_height;
  options.image.width = options.encoder.image_width;
  options.predictor =
      golden_masked_predictor_options(config.at("predictor"), golden_norm_epsilon(config));
  return options;
}

/// A fixture's action-conditioned model. One without an encoder gets a tiny one of the right token
/// width.
inline models::VJepa2AcOptions golden_vjepa2_ac_options(const nlohmann::json& config) {
  models::VJepa2AcOptions options;
  const auto& predictor =
      config.contains("predictor") ? config.at("predictor") : config.at("model");
  if (config.contains("encoder")) {
    options.encoder = golden_video_vit_options(config.at("encoder"), golden_norm_epsilon(config));
  } else {
    options.encoder = nn::VideoVitOptions::tiny();
    options.encoder.depth = 1;
    options.encoder.heads = 1;
    options.encoder.mlp_width = 8;
    options.encoder.width = predictor.at("embed_dim");
    options.encoder.patch = predictor.at("patch_size");
    options.encoder.image_height = predictor.at("img_size")[0];
    options.encoder.image_width = predictor.at("img_size")[1];
  }
  options.image.size = options.encoder.image_height;
  options.predictor = golden_frame_predictor_options(predictor, golden_norm_epsilon(config));
  return options;
}

}  // namespace foresight
