// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa_bundle.hpp"

#include "bundle_sizes.hpp"

namespace foresight::models {

io::BundleConfig eb_jepa_bundle_config(const EbJepa& model) { return family_config(model); }

void write_eb_jepa(const std::filesystem::path& folder, const EbJepa& model,
                   io::BundleConfig config, const PositionProbe* probe) {
  check_family_to_write(config, kEbJepaFamily);
  auto tensors = nn::state_dict(model);
  if (probe) {
    config.heads[kPositionProbeHead] = write_options(probe->options());
    const auto own = io::with_head_prefix(kPositionProbeHead, nn::state_dict(*probe));
    tensors.insert(tensors.end(), own.begin(), own.end());
  }
  io::write_bundle(folder, config, tensors);
}

std::shared_ptr<EbJepa> read_eb_jepa(const io::Bundle& bundle) {
  return read_sized<EbJepa>(bundle, family_options<EbJepaOptions>(bundle, kEbJepaFamily));
}

std::shared_ptr<PositionProbe> read_position_probe(const io::Bundle& bundle) {
  const auto options =
      head_options<PositionProbeOptions>(bundle.config, kPositionProbeHead, bundle_name(bundle));
  if (!options) return nullptr;
  return read_sized_head<PositionProbe>(bundle, kPositionProbeHead, *options);
}

}  // namespace foresight::models
