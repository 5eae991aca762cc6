// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_bundle.hpp"

#include "bundle_sizes.hpp"

namespace foresight::models {

io::BundleConfig vjepa2_bundle_config(const VJepa2& model) {
  const auto& encoder = model.options().encoder;
  return encoder_config(kVJepa2Family, model.options(), {kAny, kAny, kAny, 3},
                        encoder.grid().count(), encoder.width);
}

io::BundleConfig vjepa2_ac_bundle_config(const VJepa2Ac& model) { return family_config(model); }

void add_attentive_probe(io::BundleConfig& config, io::NamedTensors& tensors,
                         const AttentiveProbe& probe) {
  check_family_to_write(config, kVJepa2Family);
  VJepa2Options network;
  read_options(network, config.options, "the configuration to write");
  require(probe.width() == network.encoder.width, ErrorCategory::invalid_argument,
          "a probe of tokens of width " + std::to_string(probe.width()) +
              " cannot read an encoder's of width " + std::to_string(network.encoder.width));
  config.heads[kAttentiveProbeHead] = write_options(probe.options());
  const auto own = io::with_head_prefix(kAttentiveProbeHead, nn::state_dict(probe));
  tensors.insert(tensors.end(), own.begin(), own.end());
}

void write_vjepa2(const std::filesystem::path& folder, const VJepa2& model, io::BundleConfig config,
                  const AttentiveProbe* probe) {
  check_family_to_write(config, kVJepa2Family);
  auto tensors = nn::state_dict(model);
  if (probe != nullptr) add_attentive_probe(config, tensors, *probe);
  io::write_bundle(folder, config, tensors);
}

void write_vjepa2_ac(const std::filesystem::path& folder, const VJepa2Ac& model,
                     const io::BundleConfig& config) {
  check_family_to_write(config, kVJepa2AcFamily);
  io::write_bundle(folder, config, nn::state_dict(model));
}

std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle, io::Placement placement) {
  return read_sized<VJepa2>(bundle, encoder_options<VJepa2Options>(bundle, kVJepa2Family),
                            placement);
}

std::optional<AttentiveProbeOptions> attentive_probe_options(const io::BundleConfig& config,
                                                             const std::string& source) {
  return head_options<AttentiveProbeOptions>(config, kAttentiveProbeHead, source);
}

std::shared_ptr<AttentiveProbe> read_attentive_probe(const io::Bundle& bundle) {
  const auto options = attentive_probe_options(bundle.config, bundle_name(bundle));
  if (!options) return nullptr;
  const auto width = encoder_options<VJepa2Options>(bundle, kVJepa2Family).encoder.width;
  return read_sized_head<AttentiveProbe>(bundle, kAttentiveProbeHead, width, *options);
}

std::shared_ptr<VJepa2Ac> read_vjepa2_ac(const io::Bundle& bundle, io::Placement placement) {
  return read_sized<VJepa2Ac>(bundle, family_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily),
                              placement);
}

io::NamedTensors export_vjepa2(const io::Bundle& bundle, VJepa2Layout layout) {
  const auto options = encoder_options<VJepa2Options>(bundle, kVJepa2Family);
  const auto probe = attentive_probe_options(bundle.config, bundle_name(bundle));
  if (!probe) return published_vjepa2(options, bundle.model_tensors(), layout);
  return published_vjepa2(options, bundle.model_tensors(), *probe,
                          bundle.head_tensors(kAttentiveProbeHead), layout);
}

io::NamedTensors export_vjepa2_ac(const io::Bundle& bundle) {
  require_layout(family_options<VJepa2AcOptions>(bundle, kVJepa2AcFamily));
  return bundle.model_tensors();
}

}  // namespace foresight::models
