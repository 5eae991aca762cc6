// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa_bundle.hpp"

#include "bundle_sizes.hpp"

namespace foresight::models {

io::BundleConfig jepa_bundle_config(const Jepa& model) { return family_config(model); }

void write_jepa(const std::filesystem::path& folder, const Jepa& model, io::BundleConfig config,
                const ValueCritic* critic, io::NamedTensors head_tensors) {
  check_family_to_write(config, kJepaFamily);
  auto tensors = nn::state_dict(model);
  if (critic) {
    config.heads[kValueCriticHead] = write_options(critic->options());
    const auto own = io::with_head_prefix(kValueCriticHead, nn::state_dict(*critic));
    tensors.insert(tensors.end(), own.begin(), own.end());
  }
  tensors.insert(tensors.end(), head_tensors.begin(), head_tensors.end());
  io::write_bundle(folder, config, tensors);
}

std::shared_ptr<Jepa> read_jepa(const io::Bundle& bundle) {
  return read_sized<Jepa>(bundle, family_options<JepaOptions>(bundle, kJepaFamily));
}

std::shared_ptr<Jepa> read_jepa(const std::filesystem::path& folder) {
  return read_jepa(io::read_bundle(folder));
}

std::shared_ptr<ValueCritic> read_value_critic(const io::Bundle& bundle) {
  const auto options =
      head_options<ValueCriticOptions>(bundle.config, kValueCriticHead, bundle_name(bundle));
  if (!options) return nullptr;
  return read_sized_head<ValueCritic>(bundle, kValueCriticHead, *options);
}

}  // namespace foresight::models
