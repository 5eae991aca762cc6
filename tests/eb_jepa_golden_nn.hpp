// SPDX-License-Identifier: Apache-2.0
// Network parts built from the settings and weights of an EB-JEPA fixture.
#pragma once

#include <string>

#include "foresight/nn/impala.hpp"
#include "foresight/nn/state_dict.hpp"
#include "golden.hpp"

namespace foresight {

/// Roundings in sequence of a stack of convolutions, or of a recurrent step.
inline constexpr int64_t kRoundingsOfStack = 12;
/// Of an IMPALA encoder. Its last layers count as a stack.
inline int64_t roundings_of_impala(const nn::ImpalaOptions& options) {
  return (static_cast<int64_t>(options.channels.size()) + 1) * kRoundingsOfStack;
}

/// The weights below `prefix`, without it.
inline io::NamedTensors eb_jepa_params(const Golden& golden, const std::string& prefix = "") {
  io::NamedTensors tensors;
  for (const auto& [key, tensor] : golden.section("params"))
    if (key.starts_with(prefix)) tensors.emplace_back(key.substr(prefix.size()), tensor);
  return tensors;
}

inline nn::ImpalaOptions golden_impala_options(const nlohmann::json& encoder) {
  REQUIRE(encoder.at("width") == 1);
  REQUIRE(encoder.at("dropout_rate").is_null());
  nn::ImpalaOptions options;
  options.channels = encoder.at("stack_sizes").get<std::vector<int64_t>>();
  options.blocks = encoder.at("num_blocks");
  options.width = encoder.at("mlp_output_dim");
  const auto norm = [&](const char* key) {
    return encoder.at(key).get<bool>() ? nn::NormKind::layer : nn::NormKind::none;
  };
  options.inner_norm = norm("layer_norm");
  options.final_norm = norm("final_ln");
  return options;
}

/// Pictures of clips as the fixtures hold them, [B,C,T,h,w] -> [B,T,C,h,w].
inline Tensor frames_first(const Tensor& clips) { return clips.transpose(1, 2); }

/// Latents [B,T,D] as the fixtures hold them, [B,D,T,1,1].
inline Tensor as_feature_maps(const Tensor& latents) {
  return latents.transpose(1, 2).unsqueeze(-1).unsqueeze(-1);
}

}  // namespace foresight
