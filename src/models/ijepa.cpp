// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/ijepa.hpp"

namespace foresight::models {
namespace {

VJepa2Options pictures(VJepa2Options options) {
  options.encoder.frames = 1;
  options.encoder.positions = options.predictor.positions = nn::PositionKind::sincos;
  options.predictor.mask_tokens = 1;
  return options;
}

// The predictor has as many heads as the encoder.
VJepa2Options published(nn::VideoVitOptions encoder, int64_t side, int64_t patch) {
  VJepa2Options options;
  options.encoder = encoder;
  options.encoder.heads = options.predictor.heads = 16;
  options.encoder.patch = patch;
  options.image.size = options.encoder.image_height = options.encoder.image_width = side;
  return pictures(options);
}

}  // namespace

VJepa2Options ijepa_huge() { return published(nn::VideoVitOptions::huge(), 224, 14); }

VJepa2Options ijepa_huge_448() { return published(nn::VideoVitOptions::huge(), 448, 16); }

VJepa2Options ijepa_giant() {
  auto options = published(nn::VideoVitOptions::giant(), 224, 16);
  options.predictor.depth = 16;
  return options;
}

VJepa2Options ijepa_tiny() { return pictures(VJepa2Options::tiny()); }

}  // namespace foresight::models
