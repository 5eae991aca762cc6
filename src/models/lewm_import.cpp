// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lewm_import.hpp"

#include "foresight/core/options_json.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/lewm_checkpoint.hpp"
#include "foresight/nn/hf_vit_keys.hpp"
#include "foresight/nn/state_dict.hpp"
#include "lewm_shapes.hpp"

namespace foresight::models {
namespace {

constexpr const char* kLayoutKey = "key_layout";
constexpr const char* kPositions = "predictor.pos_embedding";

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
    if (nn::older_hf_vit_key(key) != key) layout = HfKeyLayout::newer;
  }
  const auto jepa_options =
      LewmShapes(bundle.tensors, std::string(source)).options(options, upstream);
  // Positions are counted from the start of the window: a shorter one uses the first rows.
  for (auto& [key, tensor] : bundle.tensors)
    if (key == kPositions) tensor = tensor.narrow(1, 0, jepa_options.history);

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
  const auto& options = model->options();
  const bool published_class =
      options.encoder == EncoderKind::vit && options.predictor == PredictorKind::adaln &&
      options.action_encoder.width > 0 && !options.vit.layer_scale && options.vit.registers == 0;
  require(published_class, ErrorCategory::unsupported,
          bundle.tensors.path().string() +
              ": only a Jepa with a plain ViT encoder, an action encoder and an AdaLN predictor is "
              "a LeWM; this one is not");
  auto tensors = bundle.model_tensors();
  if (layout == HfKeyLayout::newer)
    for (auto& [key, tensor] : tensors) key = nn::newer_hf_vit_key(key);
  return tensors;
}

}  // namespace foresight::models
