// SPDX-License-Identifier: Apache-2.0
// A DinoWm built from the settings and weights of a fixture. The fixtures' backbone is a stand-in,
// one strided convolution, or given as features: the model's own is tiny and unused.
#pragma once

#include <memory>
#include <string>

#include "foresight/models/dino_wm.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"
#include "foresight/nn/state_dict.hpp"
#include "golden.hpp"

namespace foresight {

inline io::NamedTensors golden_params(const Golden& golden) {
  io::NamedTensors tensors;
  for (const auto& item : golden.section("params")) tensors.emplace_back(item);
  return tensors;
}

inline nn::VitOptions unused_backbone(int64_t patch, int64_t width) {
  return {.patch = patch, .width = width, .depth = 1, .heads = 1, .mlp_width = 1};
}

inline void read_golden_predictor(models::DinoWmOptions& options, const nlohmann::json& config) {
  options.predictor.depth = config.at("depth");
  options.predictor.heads = config.at("heads");
  options.predictor.head_width = config.at("dim_head");
  options.predictor.mlp_width = config.at("mlp_dim");
  options.predictor.dropout = config.at("dropout");
}

/// Options of a fixture of gaoyuezhou/dino_wm; `config` is its "model" entry.
inline models::DinoWmOptions golden_dino_wm_options(const nlohmann::json& config) {
  models::DinoWmOptions options;
  options.image.size = config.at("image");
  options.encoder = unused_backbone(config.at("patch"), config.at("visual_dim"));
  options.encoder_image_size = options.image.size;
  options.proprio.dim = config.at("proprio_in");
  options.proprio.width = config.at("proprio_emb");
  options.proprio.repeat = config.at("num_proprio_repeat");
  read_golden_predictor(options, config.at("predictor"));
  options.predictor.conditioning = config.at("concat_dim") == 0 ? nn::ActionConditioning::token
                                                                : nn::ActionConditioning::feature;
  options.action_width = config.at("action_emb");
  options.action_repeat = config.at("num_action_repeat");
  options.history = config.at("num_hist");
  options.action.dim = config.at("action_in");
  options.action.block = 1;
  return options;
}

/// Options of a PreJEPA fixture; `config` is its "model" entry. Its features have no place: its
/// patches are a picture of one pixel each, as near to a square as their number allows.
inline models::DinoWmOptions golden_prejepa_options(const nlohmann::json& config) {
  const auto& predictor = config.at("predictor");
  models::DinoWmOptions options;
  int64_t visual = predictor.at("dim");
  for (const auto& source : config.at("extra_encoders")) {
    const std::string name = source.at(0);
    const int64_t in = source.at(1).at("in_chans"), width = source.at(1).at("emb_dim");
    visual -= width;
    if (name == "action") {
      options.action.dim = in;
      options.action.block = 1;
      options.action_width = width;
    } else {
      REQUIRE(name == "proprio");
      options.proprio.dim = in;
      options.proprio.width = width;
    }
  }
  const int64_t patches = predictor.at("num_patches");
  int64_t height = 1;
  for (int64_t side = 1; side * side <= patches; ++side)
    if (patches % side == 0) height = side;
  options.image.size = height;
  options.image.width = patches / height;
  options.encoder = unused_backbone(1, visual);
  options.encoder_image_size = height;
  read_golden_predictor(options, predictor);
  options.history = config.at("history_size");
  return options;
}

inline std::shared_ptr<models::DinoWm> golden_dino_wm(const Golden& golden,
                                                      const models::DinoWmOptions& options,
                                                      at::ScalarType type = at::kFloat) {
  auto model = std::make_shared<models::DinoWm>(options);
  models::load_dino_wm(*model, golden_params(golden), golden.name());
  model->to(test_device(), type);
  model->eval();
  return model;
}

/// The stand-in backbone: normalised pictures [...,3,h,w] -> features [...,P,D].
inline Tensor golden_features(const Golden& golden, const Tensor& pictures) {
  const auto weight = golden.param("encoder.proj.weight").to(pictures.scalar_type());
  const auto bias = golden.param("encoder.proj.bias").to(pictures.scalar_type());
  const auto patch = weight.size(2);
  const auto tokens =
      at::conv2d(pictures.flatten(0, -4), weight, bias, {patch, patch}).flatten(2).transpose(1, 2);
  auto shape = pictures.sizes().slice(0, pictures.sizes().size() - 3).vec();
  shape.insert(shape.end(), {tokens.size(1), tokens.size(2)});
  return tokens.reshape(shape);
}

/// What the stand-in makes of a planner fixture's pictures, bytes [...,h,w,3]. They are normalised
/// in float32, whatever the network computes in.
inline Tensor golden_features_of_bytes(const Golden& golden, const Tensor& pictures,
                                       at::ScalarType type = at::kFloat) {
  const auto scaled = (pictures.to(at::kFloat) / 255 - 0.5) / 0.5;
  return golden_features(golden, scaled.movedim(-1, -3).to(type));
}

/// Proprioception [...,N] as a planner fixture's model takes it.
inline Tensor golden_normalised_proprio(const Golden& golden, const Tensor& raw) {
  return (raw - golden.input("proprio_mean")) / golden.input("proprio_std");
}

/// The predictor with its action channels or token in the open: what upstream's forward returns.
inline nn::PatchPredictor whole_predictor(const models::DinoWm& model) {
  auto sizes = model.predictor().sizes();
  auto options = model.predictor().options();
  (options.conditioning == nn::ActionConditioning::token ? sizes.tokens : sizes.channels) +=
      options.conditioning == nn::ActionConditioning::token ? 1 : sizes.condition;
  options.conditioning = nn::ActionConditioning::feature;
  sizes.condition = 0;
  nn::PatchPredictor whole(options, sizes);
  whole.to(test_device(), model.parameters().front().scalar_type());
  nn::load_state_dict(whole, nn::state_dict(model.predictor()), "whole_predictor");
  return whole;
}

/// Its output for joined frames [N,L,P',D'].
inline Tensor whole_prediction(const models::DinoWm& model, const Tensor& joined) {
  return whole_predictor(model).forward(
      joined, joined.new_zeros({joined.size(0), joined.size(1), 0}), nn::Mode::infer);
}

}  // namespace foresight
