// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lejepa_bundle.hpp"

#include "bundle_sizes.hpp"

namespace foresight::models {

io::BundleConfig lejepa_bundle_config(const LeJepa& model) {
  return encoder_config(kLeJepaFamily, model.options(), {kAny, kAny, 3}, 1,
                        model.options().encoder.width);
}

void write_lejepa(const std::filesystem::path& folder, const LeJepa& model,
                  const io::BundleConfig& config) {
  check_family_to_write(config, kLeJepaFamily);
  io::write_bundle(folder, config, nn::state_dict(model));
}

std::shared_ptr<LeJepa> read_lejepa(const io::Bundle& bundle) {
  return read_sized<LeJepa>(bundle, encoder_options<LeJepaOptions>(bundle, kLeJepaFamily));
}

}  // namespace foresight::models
