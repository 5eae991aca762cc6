// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm_bundle.hpp"

#include "family_bundle.hpp"
#include "saved_module.hpp"

namespace foresight::models {

io::BundleConfig dino_wm_bundle_config(const DinoWm& model) { return family_config(model); }

void write_dino_wm(const std::filesystem::path& folder, const DinoWm& model,
                   const io::BundleConfig& config) {
  check_family_to_write(config, kDinoWmFamily);
  io::write_bundle(folder, config, nn::state_dict(model));
}

std::shared_ptr<DinoWm> read_dino_wm(const io::Bundle& bundle) {
  auto model = std::make_shared<DinoWm>(family_options<DinoWmOptions>(bundle, kDinoWmFamily));
  fill_from_bundle(*model, bundle.model_tensors(), bundle_name(bundle));
  return model;
}

}  // namespace foresight::models
