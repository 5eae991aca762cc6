// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/hf_models.hpp"

#include "foresight/core/error.hpp"
#include "foresight/models/hf_vit.hpp"
#include "foresight/models/hf_vjepa2.hpp"

namespace foresight::models {
namespace {

std::shared_ptr<torch::nn::Module> vit(const io::HfFolder& folder, io::Placement placement) {
  return load_hf_vit(folder, placement);
}
std::shared_ptr<torch::nn::Module> vjepa2(const io::HfFolder& folder, io::Placement placement) {
  return load_hf_vjepa2(folder, placement);
}

}  // namespace

const std::vector<HfFamily>& hf_families() {
  static const std::vector<HfFamily> families{
      {"vit", "nn::Vit", vit},
      {"ijepa", "nn::Vit", vit},
      {"dinov2", "nn::Vit", vit},
      {"dinov2_with_registers", "nn::Vit", vit},
      {"vjepa2", "models::VJepa2", vjepa2},
  };
  return families;
}

HfModel load_hf_model(const std::filesystem::path& path, io::Placement placement) {
  const auto folder = io::read_hf_folder(path);
  const auto type = folder.model_type();
  std::string known;
  for (const auto& family : hf_families()) {
    if (type == family.model_type) return {type, family.load(folder, placement)};
    known += (known.empty() ? "" : ", ") + std::string(family.model_type);
  }
  throw Error(ErrorCategory::unsupported, folder.config_name() + ": model_type '" + type +
                                              "' is not supported, known: " + known);
}

}  // namespace foresight::models
