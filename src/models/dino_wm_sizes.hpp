// SPDX-License-Identifier: Apache-2.0
// What DinoWm's options say about the sizes of its predictor.
#pragma once

#include "foresight/models/dino_wm_options.hpp"

namespace foresight::models {

inline nn::PatchPredictorSizes predictor_sizes(const DinoWmOptions& o) {
  nn::PatchPredictorSizes sizes{o.history, o.patches(), o.encoder.width,
                                o.action_repeat * o.action_width};
  if (o.proprio.dim == 0) return sizes;
  if (o.predictor.conditioning == nn::ActionConditioning::token)
    sizes.tokens += 1;
  else
    sizes.channels += o.proprio.repeat * o.proprio.width;
  return sizes;
}

}  // namespace foresight::models
