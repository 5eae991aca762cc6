// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_bundle.hpp"

#include "family_bundle.hpp"
#include "saved_module.hpp"

namespace foresight::models {

io::BundleConfig vjepa2_bundle_config(const VJepa2& model) {
  const auto& encoder = model.options().encoder;
  return encoder_config(kVJepa2Family, model.options(), {kAny, kAny, kAny, 3},
                        encoder.grid().count(), encoder.width);
}

io::BundleConfig vjepa2_ac_bundle_config(const VJepa2Ac& model) { return family_config(model); }

void write_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                  const io::BundleConfig& config) {
  check_family_to_write(config, kVJepa2Family);
  io::write_bundle(folder, config, nn::state_dict(model));
}

void write_vjepa2_ac(const std::filesystem::path& folder, const VJepa2Ac& model,
                     const io::BundleConfig& config) {
  check_family_to_write(config, kVJepa2AcFamily);
  io::write_bundle(folder, config, nn::state_dict(model));
}

std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle) {
  auto model =
      std::make_shared<VJepa2>(encoder_options<VJepa2Options>(bundle, kVJepa2Family), std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

std::shared_ptr<VJepa2Ac> read_vjepa2_ac(const io::Bundle& bundle) {
  auto model = std::make_shared<VJepa2Ac>(family_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily),
                                          std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

io::NamedTensors export_vjepa2(const io::Bundle& bundle, VJepa2Layout layout) {
  return published_vjepa2(encoder_options<VJepa2Options>(bundle, kVJepa2Family),
                          bundle.model_tensors(), layout);
}

io::NamedTensors export_vjepa2_ac(const io::Bundle& bundle) {
  require_layout(family_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily));
  return bundle.model_tensors();
}

}  // namespace foresight::models
