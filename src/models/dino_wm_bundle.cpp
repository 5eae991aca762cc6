// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm_bundle.hpp"

#include "bundle_sizes.hpp"
#include "family_bundle.hpp"
#include "foresight/nn/vit_layouts.hpp"
#include "saved_module.hpp"

namespace foresight::models {
namespace {

constexpr std::string_view kPreJepaBackbone = "backbone.";
constexpr const char* kSourceLayout = "source_layout";
constexpr const char* kBackboneNames = "backbone_names";  // of transformers: "older" or "newer"

}  // namespace

io::BundleConfig dino_wm_bundle_config(const DinoWm& model) { return family_config(model); }

void write_dino_wm(const std::filesystem::path& folder, const DinoWm& model,
                   const io::BundleConfig& config) {
  check_family_to_write(config, kDinoWmFamily);
  io::write_bundle(folder, config, nn::state_dict(model));
}

std::shared_ptr<DinoWm> read_dino_wm(const io::Bundle& bundle, io::Placement placement) {
  return read_sized<DinoWm>(bundle, family_options<DinoWmOptions>(bundle, kDinoWmFamily),
                            placement);
}

nlohmann::json dino_wm_source(const io::NamedTensors& tensors) {
  const auto layout = dino_wm_layout(tensors);
  nlohmann::json source{{kSourceLayout, std::string(enum_name(layout))}};
  if (layout == DinoWmLayout::dino_wm) return source;
  for (const auto& [key, tensor] : tensors) {
    if (key.find(kPreJepaBackbone) == std::string::npos) continue;
    const bool newer = key.find(".attention.q_proj.") != std::string::npos;
    if (newer || !source.contains(kBackboneNames))
      source[kBackboneNames] = newer ? "newer" : "older";
  }
  return source;
}

io::NamedTensors export_dino_wm(const io::Bundle& bundle, DinoWmLayout layout) {
  const auto model = read_dino_wm(bundle, io::Placement::share);
  auto tensors = dino_wm_tensors(*model, layout);
  const auto names = bundle.config.provenance.value(kBackboneNames, std::string());
  if (layout == DinoWmLayout::dino_wm || names.empty()) return tensors;
  const auto backbone = names == "newer" ? nn::hf_vit_memory_tensors(model->encoder())
                                         : nn::hf_vit_tensors(model->encoder());
  for (const auto& [key, tensor] : backbone)
    tensors.emplace_back(std::string(kPreJepaBackbone) + key, tensor);
  return tensors;
}

}  // namespace foresight::models
