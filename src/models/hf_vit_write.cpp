// SPDX-License-Identifier: Apache-2.0
// An nn::Vit as a Hugging Face folder.
#include <cmath>
#include <nlohmann/json.hpp>

#include "foresight/models/hf_vit.hpp"
#include "foresight/nn/vit_layouts.hpp"

namespace foresight::models {
namespace {

using OrderedJson = nlohmann::ordered_json;

void need_of_vit(bool holds, const std::string& what) {
  require(holds, ErrorCategory::unsupported, "write_hf_vit: no transformers class has " + what);
}

std::string activation_name(nn::Activation activation) {
  switch (activation) {
    case nn::Activation::gelu:
      return "gelu";
    case nn::Activation::gelu_tanh:
      return "gelu_pytorch_tanh";
    case nn::Activation::relu:
    case nn::Activation::silu:
    case nn::Activation::mish:
      return std::string(enum_name(activation));
    default:
      need_of_vit(false, "activation '" + std::string(enum_name(activation)) + "'");
      return {};
  }
}

// The mlp_ratio from which transformers computes our width.
double mlp_ratio(const nn::VitOptions& o) {
  const auto width_of = [&](double ratio) {
    const auto hidden = static_cast<int64_t>(static_cast<double>(o.width) * ratio);
    return o.gated ? (hidden * 2 / 3 + 7) / 8 * 8 : hidden;
  };
  const double exact =
      static_cast<double>(o.mlp_width) * (o.gated ? 1.5 : 1.0) / static_cast<double>(o.width);
  for (const double ratio : {std::round(exact), exact, std::nextafter(exact, 1e9)})
    if (ratio > 0 && width_of(ratio) == o.mlp_width) return ratio;
  need_of_vit(false, "a feed-forward width of " + std::to_string(o.mlp_width) +
                         " beside a token width of " + std::to_string(o.width));
  return 0;
}

OrderedJson common(const char* class_name, const char* type, const nn::Vit& vit, int64_t channels) {
  const auto& o = vit.options();
  return {{"architectures", OrderedJson::array({class_name})},
          {"attention_probs_dropout_prob", 0.0},
          {"dtype", "float32"},
          {"hidden_act", activation_name(o.activation)},
          {"hidden_dropout_prob", 0.0},
          {"hidden_size", o.width},
          {"image_size", vit.image_size()},
          {"initializer_range", 0.02},
          {"layer_norm_eps", o.norm_epsilon},
          {"model_type", type},
          {"num_attention_heads", o.heads},
          {"num_channels", channels},
          {"num_hidden_layers", o.depth},
          {"patch_size", o.patch},
          {"qkv_bias", o.qkv_bias}};
}

OrderedJson dinov2_config(const nn::Vit& vit, int64_t channels) {
  const auto& o = vit.options();
  const bool registers = o.registers > 0;
  need_of_vit(o.class_token, "layer scales without class token");
  need_of_vit(!o.pooler, "layer scales and a pooler");
  need_of_vit(o.positions == (registers ? nn::PositionResize::bicubic_antialiased
                                        : nn::PositionResize::bicubic_float),
              "positions = " + std::string(enum_name(o.positions)) + " in a DINOv2 " +
                  (registers ? "with registers" : "without registers (it has bicubic_float)"));
  auto config = registers
                    ? common("Dinov2WithRegistersModel", "dinov2_with_registers", vit, channels)
                    : common("Dinov2Model", "dinov2", vit, channels);
  config["layerscale_value"] = 1.0;
  config["mlp_ratio"] = mlp_ratio(o);
  config["use_swiglu_ffn"] = o.gated;
  if (registers) {
    need_of_vit(o.mask_token, "registers without a mask token");
    config["num_register_tokens"] = o.registers;
  } else {
    config["use_mask_token"] = o.mask_token;
  }
  return config;
}

OrderedJson vit_config(const nn::Vit& vit, int64_t channels) {
  const auto& o = vit.options();
  need_of_vit(o.registers == 0 && !o.gated,
              "registers or a gated feed-forward without layer scales");
  need_of_vit(!o.mask_token,
              "a mask token that from_pretrained() expects (it is a constructor argument)");
  need_of_vit(o.positions == nn::PositionResize::bicubic,
              "positions = " + std::string(enum_name(o.positions)) + " without layer scales");
  auto config = o.class_token ? common("ViTModel", "vit", vit, channels)
                              : common("IJepaModel", "ijepa", vit, channels);
  config["intermediate_size"] = o.mlp_width;
  return config;
}

}  // namespace

void write_hf_vit(const std::filesystem::path& folder, const nn::Vit& vit) {
  const auto tensors = nn::hf_vit_tensors(vit);
  int64_t channels = 0;
  for (const auto& [name, tensor] : tensors)
    if (name == "embeddings.patch_embeddings.projection.weight") channels = tensor.size(1);
  const auto config =
      vit.options().layer_scale ? dinov2_config(vit, channels) : vit_config(vit, channels);
  io::write_hf_folder(folder, config, tensors);
}

}  // namespace foresight::models
