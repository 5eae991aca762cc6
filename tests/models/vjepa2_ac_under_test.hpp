// SPDX-License-Identifier: Apache-2.0
// Options of tiny VJepa2Ac models.
#pragma once

#include "foresight/models/vjepa2_ac_options.hpp"

namespace foresight {

/// Pictures of 16 pixels, four patches.
inline models::VJepa2AcOptions tiny_arm_options(int64_t history, int64_t window) {
  models::VJepa2AcOptions options;
  options.image.size = 16;
  options.encoder = nn::VideoVitOptions::tiny();
  options.encoder.width = 12;
  options.encoder.depth = 1;
  options.encoder.heads = 1;
  options.encoder.mlp_width = 16;
  options.encoder.image_height = options.encoder.image_width = 16;
  options.predictor.width = 24;
  options.predictor.depth = 2;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 32;
  options.history = history;
  options.window = window;
  return options;
}

}  // namespace foresight
