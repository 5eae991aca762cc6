// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/world_models.hpp"

#include <algorithm>

#include "foresight/core/error.hpp"
#include "foresight/models/dino_wm_bundle.hpp"
#include "foresight/models/eb_jepa_bundle.hpp"
#include "foresight/models/jepa_bundle.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/nn/packing_pays.hpp"

namespace foresight::models {
namespace {

at::ScalarType type_of(const Jepa& model) { return model.parameters().front().scalar_type(); }

void pack_where_it_pays(Jepa& model) {
  if (nn::packing_pays(type_of(model))) model.pack();
}

template <auto read>
LoadedWorldModel loaded(const io::Bundle& bundle, io::Placement placement) {
  const auto model = read(bundle, placement);
  return {model, model};
}

std::shared_ptr<Jepa> jepa(const io::Bundle& bundle, io::Placement) {
  auto model = read_jepa(bundle);
  pack_where_it_pays(*model);
  return model;
}

std::shared_ptr<EbJepa> eb_jepa(const io::Bundle& bundle, io::Placement) {
  return read_eb_jepa(bundle);
}

}  // namespace

const std::vector<WorldModelFamily>& world_model_families() {
  static const std::vector<WorldModelFamily> families{
      {kJepaFamily, loaded<jepa>},
      {kDinoWmFamily, loaded<read_dino_wm>},
      {kEbJepaFamily, loaded<eb_jepa>},
      {kVJepa2AcFamily, loaded<read_vjepa2_ac>},
  };
  return families;
}

bool is_world_model(std::string_view family) {
  const auto& families = world_model_families();
  return std::any_of(families.begin(), families.end(),
                     [&](const WorldModelFamily& known) { return family == known.name; });
}

LoadedWorldModel in_precision(const LoadedWorldModel& loaded, InferencePrecision precision) {
  const auto model = std::dynamic_pointer_cast<Jepa>(loaded.model);
  if (precision != InferencePrecision::fixed16) {
    require(!model || !model->in_fixed_point(), ErrorCategory::unsupported,
            "the model is in fixed point, which is not turned back: load its bundle anew");
    const auto type = precision == InferencePrecision::bfloat16 ? at::kBFloat16 : at::kFloat;
    const bool repack = model && type_of(*model) != type;
    if (repack) model->unpack();
    loaded.module->to(type);
    if (repack) pack_where_it_pays(*model);
    return loaded;
  }
  require(model != nullptr, ErrorCategory::unsupported,
          "fixed16: a model of family '" + loaded.model->spec().family +
              "' is not computed in fixed point, only 'jepa' with the AdaLN predictor is");
  require(
      model->parameters().front().device().is_cpu(), ErrorCategory::unsupported,
      "fixed16 computes on the CPU, the model is on " + model->parameters().front().device().str());
  const auto copy = model->fixed_point_copy();
  return {copy, copy};
}

void move_to(const LoadedWorldModel& loaded, const at::Device& device) {
  const auto model = std::dynamic_pointer_cast<Jepa>(loaded.model);
  if (model) model->unpack();
  loaded.module->to(device);
  if (model && device.is_cpu() && !model->in_fixed_point()) pack_where_it_pays(*model);
}

LoadedWorldModel bfloat16_copy(const LoadedWorldModel& loaded) {
  const auto model = std::dynamic_pointer_cast<Jepa>(loaded.model);
  require(model && !model->in_fixed_point(), ErrorCategory::unsupported,
          "bfloat16_rechecked: a model of family '" + loaded.model->spec().family +
              "' has no copy in bfloat16, only 'jepa' in floating point has");
  const auto copy = model->copy();
  return in_precision({copy, copy}, InferencePrecision::bfloat16);
}

LoadedWorldModel read_world_model(const io::Bundle& bundle, io::Placement placement) {
  std::string known;
  for (const auto& family : world_model_families()) {
    if (bundle.config.family == family.name) return family.read(bundle, placement);
    known += (known.empty() ? "" : ", ") + std::string(family.name);
  }
  throw Error(ErrorCategory::unsupported, bundle.tensors.path().string() + ": model family '" +
                                              bundle.config.family +
                                              "' is not a world model known here, known: " + known);
}

LoadedWorldModel read_world_model(const std::filesystem::path& folder, io::Placement placement) {
  return read_world_model(io::read_bundle(folder), placement);
}

}  // namespace foresight::models
