// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa_bundle.hpp"

#include "family_bundle.hpp"
#include "saved_module.hpp"

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
  auto model =
      std::make_shared<EbJepa>(family_options<EbJepaOptions>(bundle, kEbJepaFamily), std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

std::shared_ptr<PositionProbe> read_position_probe(const io::Bundle& bundle) {
  const auto& heads = bundle.config.heads;
  if (!heads.contains(kPositionProbeHead)) return nullptr;
  PositionProbeOptions options;
  read_options(options, heads.at(kPositionProbeHead),
               bundle_name(bundle) + ": heads.position_probe");
  auto probe = std::make_shared<PositionProbe>(options);
  fill_from_bundle(*probe, bundle.head_tensors(kPositionProbeHead), bundle_name(bundle));
  return probe;
}

}  // namespace foresight::models
