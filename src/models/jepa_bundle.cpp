// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa_bundle.hpp"

#include "family_bundle.hpp"
#include "saved_module.hpp"

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
  auto model =
      std::make_shared<Jepa>(family_options<JepaOptions>(bundle, kJepaFamily), std::nullopt);
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

std::shared_ptr<Jepa> read_jepa(const std::filesystem::path& folder) {
  return read_jepa(io::read_bundle(folder));
}

std::shared_ptr<ValueCritic> read_value_critic(const io::Bundle& bundle) {
  const auto& heads = bundle.config.heads;
  if (!heads.contains(kValueCriticHead)) return nullptr;
  ValueCriticOptions options;
  read_options(options, heads.at(kValueCriticHead), bundle_name(bundle) + ": heads.value_critic");
  auto critic = std::make_shared<ValueCritic>(options, std::nullopt);
  fill_from_bundle(*critic, bundle.head_tensors(kValueCriticHead), bundle_name(bundle));
  return critic;
}

}  // namespace foresight::models
