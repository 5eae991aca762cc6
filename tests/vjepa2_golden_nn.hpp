// SPDX-License-Identifier: Apache-2.0
// Network parts built from the settings of a V-JEPA 2 fixture.
#pragma once

#include <string>

#include "foresight/nn/frame_causal_predictor.hpp"
#include "foresight/nn/masked_video_predictor.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/video_vit.hpp"
#include "golden.hpp"

namespace foresight {

/// The LayerNorm epsilon of all networks of a fixture, from its whole config. Fails the test where
/// targets are normalised with another one than the library's.
inline double golden_norm_epsilon(const nlohmann::json& config) {
  REQUIRE(config.value("target_layer_norm_eps", 1e-5) == 1e-5);
  return config.value("norm_eps", 1e-6);
}

/// int(width * ratio), narrowed for a gated layer where the reference does so.
inline int64_t golden_mlp_width(const nlohmann::json& model, int64_t width) {
  const auto hidden =
      static_cast<int64_t>(static_cast<double>(width) * model.at("mlp_ratio").get<double>());
  const bool gated = model.value("use_silu", false) && model.value("wide_silu", true);
  return gated ? nn::balanced_swiglu_width(hidden) : hidden;
}

inline nn::FeedForward golden_feed_forward(const nlohmann::json& model) {
  return model.value("use_silu", false) ? nn::FeedForward::swiglu : nn::FeedForward::gelu;
}

inline nn::PositionKind golden_positions(const nlohmann::json& model) {
  if (model.value("use_rope", false)) return nn::PositionKind::rope;
  return model.value("uniform_power", false) ? nn::PositionKind::sincos_uniform
                                             : nn::PositionKind::sincos;
}

inline nn::VideoVitOptions golden_video_vit_options(const nlohmann::json& model,
                                                    double norm_epsilon) {
  nn::VideoVitOptions options;
  options.width = model.at("embed_dim");
  options.depth = model.at("depth");
  options.heads = model.at("num_heads");
  options.mlp_width = golden_mlp_width(model, options.width);
  options.patch = model.at("patch_size");
  options.tubelet = model.at("tubelet_size");
  options.frames = model.at("num_frames");
  options.image_height = model.at("img_size")[0];
  options.image_width = model.at("img_size")[1];
  options.channels = model.value("in_chans", int64_t{3});
  options.positions = golden_positions(model);
  options.feed_forward = golden_feed_forward(model);
  options.qkv_bias = model.value("qkv_bias", true);
  options.norm_epsilon = norm_epsilon;
  return options;
}

/// The grid that a predictor's "img_size", "patch_size" and "num_frames" describe.
inline nn::TokenGrid golden_grid(const nlohmann::json& model) {
  const auto patch = model.at("patch_size").get<int64_t>();
  return {model.at("num_frames").get<int64_t>() / model.at("tubelet_size").get<int64_t>(),
          model.at("img_size")[0].get<int64_t>() / patch,
          model.at("img_size")[1].get<int64_t>() / patch};
}

inline nn::MaskedVideoPredictorOptions golden_masked_predictor_options(const nlohmann::json& model,
                                                                       double norm_epsilon) {
  nn::MaskedVideoPredictorOptions options;
  options.width = model.at("predictor_embed_dim");
  options.depth = model.at("depth");
  options.heads = model.at("num_heads");
  options.mlp_width = golden_mlp_width(model, options.width);
  options.mask_tokens = model.at("num_mask_tokens");
  options.positions = golden_positions(model);
  options.feed_forward = golden_feed_forward(model);
  options.qkv_bias = model.value("qkv_bias", true);
  options.norm_epsilon = norm_epsilon;
  return options;
}

inline nn::FrameCausalPredictorOptions golden_frame_predictor_options(const nlohmann::json& model,
                                                                      double norm_epsilon) {
  nn::FrameCausalPredictorOptions options;
  options.width = model.at("predictor_embed_dim");
  options.depth = model.at("depth");
  options.heads = model.at("num_heads");
  options.mlp_width = golden_mlp_width(model, options.width);
  options.action_width = model.at("action_embed_dim");
  options.extrinsics = model.value("use_extrinsics", false);
  options.positions =
      model.value("use_rope", false) ? nn::PositionKind::rope : nn::PositionKind::none;
  options.feed_forward = golden_feed_forward(model);
  options.qkv_bias = model.value("qkv_bias", true);
  options.norm_epsilon = norm_epsilon;
  return options;
}

/// The tensors of a section whose keys start with `prefix`, without it.
inline io::NamedTensors golden_section(const Golden& golden, const std::string& section,
                                       const std::string& prefix = "") {
  io::NamedTensors tensors;
  for (const auto& [key, tensor] : golden.section(section))
    if (key.starts_with(prefix)) tensors.emplace_back(key.substr(prefix.size()), tensor);
  return tensors;
}

}  // namespace foresight
