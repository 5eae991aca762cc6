// SPDX-License-Identifier: Apache-2.0
// A Jepa built from the settings and weights of a LeWM or PLDM fixture.
#pragma once

#include <memory>
#include <string>

#include "foresight/models/jepa.hpp"
#include "foresight/models/lewm_checkpoint.hpp"
#include "lewm_golden_nn.hpp"

namespace foresight {

/// Options of the reference model. `config` is the fixture's; its "model" entry lists the parts.
/// The action space has the block length of config.action_block where the fixture plans, else 1.
inline models::JepaOptions golden_jepa_options(const nlohmann::json& config) {
  const auto& model = config.at("model");
  models::JepaOptions options;
  options.image.size = model.at("encoder").at("image_size");
  options.encoder = models::EncoderKind::vit;
  options.vit = golden_vit_options(model.at("encoder"));
  options.projector = golden_projection_options(model.at("projector"));
  options.latent = model.at("projector").at("output_dim");
  options.action_encoder = golden_action_encoder_options(model.at("action_encoder"));
  options.predictor = models::PredictorKind::adaln;
  options.adaln = golden_predictor_options(model.at("predictor"));
  options.pred_proj = golden_projection_options(model.at("pred_proj"));
  options.history = model.at("predictor").at("num_frames");
  options.action = ActionSpace();
  options.action.block = config.value("action_block", int64_t{1});
  options.action.dim =
      model.at("action_encoder").at("input_dim").get<int64_t>() / options.action.block;
  return options;
}

/// The reference model with its weights, in inference mode. `history` < the reference's shortens
/// the window: positions are counted from its start, so the first rows of the table are the ones in
/// use.
inline std::shared_ptr<models::Jepa> golden_jepa(const Golden& golden,
                                                 models::JepaOptions options) {
  auto model = std::make_shared<models::Jepa>(options);
  auto tensors = golden_tensors(golden, "params");
  for (auto& [key, tensor] : tensors)
    if (key == "predictor.pos_embedding") tensor = tensor.narrow(1, 0, options.history);
  models::load_lewm(*model, tensors, golden.name());
  model->to(test_device());
  model->eval();
  return model;
}

inline std::shared_ptr<models::Jepa> golden_jepa(const Golden& golden) {
  return golden_jepa(golden, golden_jepa_options(golden.config()));
}

}  // namespace foresight
