// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_bundle.hpp"

#include "family_bundle.hpp"
#include "saved_module.hpp"

namespace foresight::models {

io::BundleConfig vjepa2_bundle_config(const VJepa2& model) {
  const auto& o = model.options();
  ModelSpec spec;
  spec.family = kVJepa2Family;
  spec.observation = {{std::string(kPixels), {kAny, kAny, kAny, 3}, at::kByte}};
  spec.tokens = o.encoder.grid().count();
  spec.channels = o.encoder.width;
  auto config = io::BundleConfig::of(spec);
  config.options = write_options(o);
  return config;
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

// A family without actions and history: all of its options are its own.
std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle) {
  require(bundle.config.family == kVJepa2Family, ErrorCategory::unsupported,
          bundle_name(bundle) + ": model family '" + bundle.config.family + "', expected '" +
              kVJepa2Family + "'");
  VJepa2Options options;
  read_options(options, bundle.config.options, bundle_name(bundle) + ": options");
  auto model = std::make_shared<VJepa2>(options, std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

std::shared_ptr<VJepa2Ac> read_vjepa2_ac(const io::Bundle& bundle) {
  auto model = std::make_shared<VJepa2Ac>(family_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily),
                                          std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

}  // namespace foresight::models
