// SPDX-License-Identifier: Apache-2.0
// What Jepa's options say about the sizes of its predictor.
#pragma once

#include "foresight/models/jepa_options.hpp"
#include "foresight/nn/predictor.hpp"

namespace foresight::models {

inline nn::PredictorSizes predictor_sizes(const JepaOptions& o) {
  // Without pred_proj the predictor must produce the latent itself.
  const bool free_width = o.predictor == PredictorKind::adaln && o.pred_proj.hidden > 0;
  return {o.history, o.latent,
          o.action_encoder.width > 0 ? o.action_encoder.width : o.action.width(),
          free_width ? o.adaln.width : o.latent};
}

}  // namespace foresight::models
