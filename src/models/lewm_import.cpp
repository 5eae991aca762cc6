// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lewm_import.hpp"

#include "foresight/core/log.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/io/weights.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/lewm_checkpoint.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/state_dict.hpp"
#include "lewm_shapes.hpp"

namespace foresight::models {
namespace {

constexpr const char* kLayoutKey = "key_layout";
constexpr const char* kPositions = "predictor.pos_embedding";

// Whether these weights, or those that their training began with, came from a LeWM's file.
bool came_from_lewm(const nlohmann::json& provenance) {
  if (!provenance.is_object()) return false;
  const auto origin = provenance.find("continued_from");
  return provenance.contains(kLayoutKey) || (origin != provenance.end() && came_from_lewm(*origin));
}

// Throws unless stable-worldmodel's class computes what a network of these options does. Most of
// it changes no name and no shape: the file would load, and every feature be wrong. What an import
// takes from a file or its config.json may differ from the published network.
void require_lewm(const JepaOptions& options, bool imported, const std::string& source) {
  const auto& vit = options.vit;
  const nn::VitOptions published;
  const auto needs = [&](bool holds, const std::string& what) {
    require(holds, ErrorCategory::unsupported,
            source + ": is not exported as a LeWM: its class has no " + what);
  };
  needs(options.encoder == EncoderKind::vit, "encoder but a ViT");
  needs(options.predictor == PredictorKind::adaln, "predictor but an AdaLN transformer");
  needs(options.action_encoder.width > 0, "action blocks that are not embedded");
  needs(vit.class_token, "encoder without class token");
  needs(vit.registers == 0, "registers");
  needs(!vit.mask_token, "mask token");
  needs(!vit.layer_scale, "layer scales");
  needs(!vit.gated, "gated feed-forward");
  needs(vit.activation == published.activation, "activation in its encoder but the exact GELU");
  needs(vit.positions == published.positions,
        "way to resample positions but " + std::string(enum_name(published.positions)));
  if (imported) return;
  needs(vit.qkv_bias, "attention without bias");
  needs(!vit.pooler, "pooler");
  needs(vit.norm_epsilon == published.norm_epsilon, "epsilon in its encoder's norms but 1e-12");
}

}  // namespace

ActionSpace LewmImportOptions::unknown_actions() {
  auto space = two_dimensional_blocks_of_five();
  space.dim = 0;
  return space;
}

std::vector<std::string> LewmImportOptions::validate() const {
  Rules rules("LewmImportOptions");
  rules.nested("image", image.validate());
  rules.at_least("history", static_cast<double>(history), 0);
  rules.at_least("encoder_heads", static_cast<double>(encoder_heads), 0);
  rules.at_least("predictor_heads", static_cast<double>(predictor_heads), 0);
  return rules.problems();
}

UnwrittenBundle import_lewm(const io::NamedTensors& tensors, const LewmImportOptions& options,
                            const nlohmann::json& upstream, std::string_view source) {
  require_valid(options);
  UnwrittenBundle bundle;
  auto layout = HfKeyLayout::older;
  for (const auto& [key, tensor] : tensors) {
    bundle.tensors.emplace_back(lewm_key(key), tensor);
    const auto plain = io::without_marks(key);
    if (nn::older_hf_vit_key(plain) != plain) layout = HfKeyLayout::newer;
  }
  const auto jepa_options =
      LewmShapes(bundle.tensors, std::string(source)).options(options, upstream);
  // Positions are counted from the start of the window: a shorter one uses the first rows.
  for (auto& [key, tensor] : bundle.tensors) {
    if (key != kPositions || tensor.size(1) == jepa_options.history) continue;
    log(LogLevel::warning, std::string(source) + ": of " + std::to_string(tensor.size(1)) +
                               " positions the bundle keeps the first " +
                               std::to_string(jepa_options.history) +
                               ", so that an export does not fit its Python class as it was built");
    tensor = tensor.narrow(1, 0, jepa_options.history);
  }

  const Jepa model(jepa_options, std::nullopt);
  io::check_fit(nn::state_dict(model), bundle.tensors, source, io::DtypeRule::same_kind);
  bundle.config = jepa_bundle_config(model);
  bundle.config.provenance[kLayoutKey] = std::string(enum_name(layout));
  return bundle;
}

HfKeyLayout imported_layout(const io::BundleConfig& config) {
  const auto found = config.provenance.find(kLayoutKey);
  const bool newer = found != config.provenance.end() && *found == enum_name(HfKeyLayout::newer);
  return newer ? HfKeyLayout::newer : HfKeyLayout::older;
}

io::NamedTensors export_lewm(const io::Bundle& bundle, HfKeyLayout layout) {
  const auto model = read_jepa(bundle);  // checks the bundle as a whole
  require_lewm(model->options(), came_from_lewm(bundle.config.provenance),
               bundle.tensors.path().string());
  auto tensors = bundle.model_tensors();
  if (layout == HfKeyLayout::newer)
    for (auto& [key, tensor] : tensors) key = nn::newer_hf_vit_key(key);
  return tensors;
}

}  // namespace foresight::models
