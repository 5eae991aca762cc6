// SPDX-License-Identifier: Apache-2.0
// Network parts built from the settings of a LeWM fixture.
#pragma once

#include <map>
#include <string>

#include "foresight/nn/action_encoder.hpp"
#include "foresight/nn/adaln_predictor.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit.hpp"
#include "golden.hpp"

namespace foresight {

/// Of a feed-forward part, by "hidden_act". Fails the test for one that is not known here.
inline nn::Activation golden_activation(const std::string& name) {
  INFO("hidden_act " << name);
  if (name == "gelu_pytorch_tanh") return nn::Activation::gelu_tanh;
  REQUIRE((name == "gelu" || name == "gelu (erf)"));
  return nn::Activation::gelu;
}

inline nn::VitOptions golden_vit_options(const nlohmann::json& encoder) {
  nn::VitOptions options;
  options.patch = encoder.at("patch_size");
  options.width = encoder.at("hidden_size");
  options.depth = encoder.at("num_hidden_layers");
  options.heads = encoder.at("num_attention_heads");
  options.mlp_width = encoder.at("intermediate_size");
  options.norm_epsilon = encoder.value("layer_norm_eps", 1e-12);
  options.qkv_bias = encoder.value("qkv_bias", true);
  options.activation = golden_activation(encoder.value("hidden_act", std::string("gelu")));
  REQUIRE(encoder.value("num_channels", 3) == 3);  // nn::Vit takes no others
  return options;
}

inline nn::ProjectionOptions golden_projection_options(const nlohmann::json& mlp) {
  const auto norm = mlp.at("norm").get<std::string>();
  return {mlp.at("hidden_dim"), norm == "batchnorm1d" ? nn::NormKind::batch
                                : norm == "layernorm" ? nn::NormKind::layer
                                                      : nn::NormKind::none};
}

inline nn::ActionEncoderOptions golden_action_encoder_options(const nlohmann::json& encoder) {
  return {encoder.at("emb_dim"), encoder.value("smoothed_dim", int64_t{10}),
          encoder.value("mlp_scale", int64_t{4})};
}

inline nn::AdaLnPredictorOptions golden_predictor_options(const nlohmann::json& predictor) {
  nn::AdaLnPredictorOptions options;
  options.depth = predictor.at("depth");
  options.width = predictor.at("hidden_dim");
  options.heads = predictor.at("heads");
  options.head_width = predictor.at("dim_head");
  options.mlp_width = predictor.at("mlp_dim");
  options.dropout = predictor.at("dropout");
  return options;
}

inline nn::PredictorSizes golden_predictor_sizes(const nlohmann::json& predictor) {
  return {predictor.at("num_frames"), predictor.at("input_dim"), predictor.at("input_dim"),
          predictor.at("output_dim")};
}

/// The tensors of a section whose keys start with `prefix`, without it, in the key layout of
/// nn::Vit.
inline io::NamedTensors golden_tensors(const Golden& golden, const std::string& section,
                                       const std::string& prefix = "") {
  io::NamedTensors tensors;
  for (const auto& [key, tensor] : golden.section(section))
    if (key.starts_with(prefix))
      tensors.emplace_back(nn::older_hf_vit_key(key.substr(prefix.size())), tensor);
  return tensors;
}

}  // namespace foresight
