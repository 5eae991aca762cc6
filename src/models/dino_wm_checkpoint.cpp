// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm_checkpoint.hpp"

#include <algorithm>
#include <array>
#include <optional>

#include "foresight/io/load_tensors.hpp"
#include "foresight/nn/state_dict.hpp"
#include "foresight/nn/vit_layouts.hpp"

namespace foresight::models {
namespace {

constexpr std::array kTrained{"predictor.", "action_encoder.", "proprio_encoder."};
constexpr std::array kOtherParts{"encoder.", "backbone.", "decoder."};
constexpr std::string_view kPreJepaEncoders = "extra_encoders.", kEncoderEnding = "_encoder.";
constexpr std::string_view kLayers = "predictor.transformer.layers.", kMaskEnding = ".0.bias";

template <class Prefixes>
bool starts_with_any(std::string_view key, const Prefixes& prefixes) {
  for (const auto* prefix : prefixes)
    if (key.starts_with(prefix)) return true;
  return false;
}

std::string without_wrapper(std::string_view key) {
  for (const std::string_view wrapper : {"module.", "model."})
    if (key.starts_with(wrapper)) key.remove_prefix(wrapper.size());
  return std::string(key);
}

// PreJEPA keeps its attention mask as the buffer transformer.layers.{i}.0.bias.
bool is_mask(std::string_view key) {
  if (!key.starts_with(kLayers) || !key.ends_with(kMaskEnding)) return false;
  const auto index = key.substr(kLayers.size(), key.size() - kLayers.size() - kMaskEnding.size());
  return !index.empty() && index.find_first_not_of("0123456789") == std::string_view::npos;
}

// Our name, or nothing for a tensor of another part.
std::optional<std::string> own_key(std::string_view published) {
  auto key = without_wrapper(published);
  if (is_mask(key) || starts_with_any(key, kOtherParts)) return std::nullopt;
  if (!key.starts_with(kPreJepaEncoders)) return key;
  const auto rest = key.substr(kPreJepaEncoders.size());  // "proprio.patch_embed.weight"
  const auto dot = rest.find('.');
  return dot == std::string::npos ? key : rest.substr(0, dot) + "_encoder" + rest.substr(dot);
}

// "proprio_encoder.patch_embed.weight" -> "extra_encoders.proprio.patch_embed.weight"
std::string prejepa_key(const std::string& own) {
  const auto at = own.find(kEncoderEnding);
  if (own.starts_with("predictor.") || at == std::string::npos) return own;
  return std::string(kPreJepaEncoders) + own.substr(0, at) + "." +
         own.substr(at + kEncoderEnding.size());
}

// Which tokens of W frames of P see which, [1,1,WP,WP]: 1 for those of the same and earlier frames.
Tensor causal_mask(const nn::PatchPredictorSizes& sizes, at::ScalarType type) {
  const auto frame = at::arange(sizes.frames).repeat_interleave(sizes.tokens);
  return frame.unsqueeze(1).ge(frame).to(type).unsqueeze(0).unsqueeze(0);
}

void require_prejepa(const DinoWmOptions& options) {
  const auto needs = [](bool holds, const std::string& what) {
    require(holds, ErrorCategory::unsupported,
            "stable-worldmodel's PreJEPA has no " + what + ": it cannot be in its layout");
  };
  needs(options.predictor.conditioning == nn::ActionConditioning::feature,
        "actions but as channels (" + std::string(enum_name(options.predictor.conditioning)) + ")");
  needs(options.action_repeat == 1 && (options.proprio.dim == 0 || options.proprio.repeat == 1),
        "repeated embeddings");
}

}  // namespace

DinoWmLayout dino_wm_layout(const io::NamedTensors& tensors) {
  const bool prejepa = std::any_of(tensors.begin(), tensors.end(), [](const auto& item) {
    const auto key = without_wrapper(item.first);
    return key.starts_with(kPreJepaEncoders) || is_mask(key);
  });
  return prejepa ? DinoWmLayout::prejepa : DinoWmLayout::dino_wm;
}

io::NamedTensors dino_wm_tensors(const DinoWm& model, DinoWmLayout layout) {
  io::NamedTensors trained;
  for (auto& item : nn::state_dict(model))
    if (starts_with_any(item.first, kTrained)) trained.push_back(std::move(item));
  if (layout == DinoWmLayout::dino_wm) return trained;
  require_prejepa(model.options());
  for (auto& [key, tensor] : trained) key = prejepa_key(key);
  const auto mask = causal_mask(model.predictor().sizes(), trained.front().second.scalar_type());
  for (int64_t i = 0; i < model.options().predictor.depth; ++i)
    trained.emplace_back(std::string(kLayers) + std::to_string(i) + std::string(kMaskEnding), mask);
  return trained;
}

void load_dino_wm(DinoWm& model, const io::NamedTensors& tensors, std::string_view source) {
  io::NamedTensors renamed;
  for (const auto& [key, tensor] : tensors)
    if (auto own = own_key(key)) renamed.emplace_back(std::move(*own), tensor);
  io::load_into(dino_wm_tensors(model), renamed, source, io::DtypeRule::same_kind);
}

void load_dino_wm_backbone(DinoWm& model, const io::NamedTensors& tensors,
                           std::string_view source) {
  constexpr std::array<std::string_view, 3> kPrefixes{"encoder.base_model.", "backbone.",
                                                      "encoder."};
  // "encoder." also opens the names of Hugging Face's layers: it is a prefix only where everything
  // of the backbone is below it.
  const auto has = [&](std::string_view prefix, std::string_view name) {
    for (const auto& [key, tensor] : tensors)
      if (without_wrapper(key) == std::string(prefix) + std::string(name)) return true;
    return false;
  };
  std::string prefix;
  for (const auto candidate : kPrefixes)
    if (prefix.empty() &&
        (has(candidate, "pos_embed") || has(candidate, "embeddings.position_embeddings")))
      prefix = candidate;
  io::NamedTensors own;
  for (const auto& [key, tensor] : tensors) {
    const auto name = without_wrapper(key);
    if (name.starts_with(prefix)) own.emplace_back(name.substr(prefix.size()), tensor);
  }
  nn::load_state_dict(model.encoder(), nn::vit_tensors(own), source);
}

}  // namespace foresight::models
