// SPDX-License-Identifier: Apache-2.0
// A Jepa built from the settings and weights of a LeWM or PLDM fixture.
#pragma once

#include <map>
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

/// Reference keys of a training fixture name our parameter `key` so: PLDM trains a wrapper that
/// holds the model and the inverse-dynamics head side by side.
inline std::string golden_reference_name(const Golden& golden, const std::string& key) {
  const bool wrapped = golden.kind() == "pldm_train_step";
  return wrapped && !key.starts_with("idm.") ? "model." + key : key;
}

/// The model's options with the losses of the fixture's recipe.
inline models::JepaOptions golden_training_options(const Golden& golden) {
  const auto& config = golden.config();
  auto options = golden_jepa_options(config);
  const auto& losses = config.at("recipe").at("loss");
  const auto weight = [&](const char* name) {
    if (!losses.contains(name)) return 0.0;
    const auto& term = losses.at(name);
    return term.value("enabled", true) ? term.at("weight").get<double>() : 0.0;
  };
  options.loss.sigreg = 0.0;  // PLDM lists it but never computes it
  if (config.contains("sigreg")) {
    options.loss.sigreg = weight("sigreg");
    options.loss.sigreg_options.knots = config.at("sigreg").at("knots");
    options.loss.sigreg_options.projections = config.at("sigreg").at("num_proj");
  }
  options.loss.straightening = weight("temp_straight");
  options.loss.std = weight("std");
  options.loss.std_t = weight("std_t");
  options.loss.cov = weight("cov");
  options.loss.cov_t = weight("cov_t");
  options.loss.temporal = weight("temp_align");
  options.loss.inverse_dynamics = weight("idm");
  if (config.contains("idm")) options.inverse_dynamics_hidden = config.at("idm").at("hidden_dim");
  return options;
}

/// Compares a model after training with "<section>/..". `clipped`: the gradients of the first step.
/// Adam turns a gradient of rounding noise into a full step: such elements get the file's wider
/// tolerance.
inline void compare_golden_state(Golden& golden, const std::string& section,
                                 const models::Jepa& model,
                                 const std::map<std::string, Tensor>& clipped) {
  const auto& rule = golden.config().at("small_gradient_rule");
  for (const auto& [key, value] : nn::state_dict(model)) {
    const auto full = section + "/" + golden_reference_name(golden, key);
    if (!golden.has(full)) continue;
    const auto gradient = clipped.find(key);
    if (gradient == clipped.end()) {
      golden.compare(full, value);
      continue;
    }
    const auto& g = gradient->second;
    const auto reliable = g.eq(0).logical_or(g.abs().ge(rule.at("threshold").get<double>()));
    golden.compare_where(full, value, reliable);
    if (!golden.excluded(full))
      CHECK((value - golden.at(full)).abs().max().item<double>() <= rule.at("atol").get<double>());
  }
}

}  // namespace foresight
