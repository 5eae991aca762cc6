// SPDX-License-Identifier: Apache-2.0
// Any world model from its bundle, by the family that config.json names.
#pragma once

#include <filesystem>
#include <memory>
#include <string_view>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/world_model.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/io/load_tensors.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::models {

/// One object seen as what it computes and as what holds its weights.
struct LoadedWorldModel {
  std::shared_ptr<WorldModel> model;
  std::shared_ptr<torch::nn::Module> module;  ///< to move, freeze or list the weights
};

/// A family and how to read its bundles.
struct WorldModelFamily {
  const char* name;  ///< BundleConfig::family
  LoadedWorldModel (*read)(const io::Bundle& bundle, io::Placement placement);
};

/// What inference computes in.
enum class InferencePrecision {
  float32,
  bfloat16,  ///< pays on GPUs and on processors with AVX512-BF16 or AMX
  fixed16,   ///< integers of 16 bits, Jepa::fixed_point_copy(): pays on other processors
  /// Planning alone: candidates are imagined in bfloat16, and those whose rank its rounding could
  /// decide again in float32, in which all else is computed: float32's plan, see
  /// recheck_survivors(). Pays where bfloat16 does.
  bfloat16_rechecked,
};

/// The model to infer with in another precision: float32 and bfloat16 convert the given one,
/// fixed16 is a copy; bfloat16_rechecked is float32 here, and bfloat16_copy() what imagines. Throws
/// Error(unsupported) where a family or device has no fixed16, and for a model in fixed16 that
/// should become another.
FORESIGHT_API LoadedWorldModel in_precision(const LoadedWorldModel& loaded,
                                            InferencePrecision precision);

/// Moves the weights of a model. What was laid out for the CPU (Jepa::pack()) is freed, and laid
/// out anew on a CPU where that pays; a model in fixed point keeps it.
FORESIGHT_API void move_to(const LoadedWorldModel& loaded, const at::Device& device);

/// A copy of a model that computes in bfloat16. Throws Error(unsupported) for families other than
/// 'jepa' and for models in fixed point.
FORESIGHT_API LoadedWorldModel bfloat16_copy(const LoadedWorldModel& loaded);

/// All families that read_world_model() knows.
FORESIGHT_API const std::vector<WorldModelFamily>& world_model_families();
/// Whether `family` is one of them; encoders' are not.
FORESIGHT_API bool is_world_model(std::string_view family);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode; LeWM
/// and PLDM packed for this processor (Jepa::pack()). `placement` counts for the families with a
/// large frozen encoder, dino_wm and vjepa2_ac; the others, which are small, are copied. Throws
/// Error: unsupported for an unknown family, naming those that are known; bad_file for a bundle
/// that is damaged, wherever the weights are placed (Bundle::checksum); otherwise as the family's
/// reader does.
FORESIGHT_API LoadedWorldModel read_world_model(const io::Bundle& bundle,
                                                io::Placement placement = io::Placement::copy);
/// read_world_model() of the bundle in `folder`.
FORESIGHT_API LoadedWorldModel read_world_model(const std::filesystem::path& folder,
                                                io::Placement placement = io::Placement::copy);

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::InferencePrecision> {
  using E = foresight::models::InferencePrecision;
  static constexpr std::array<std::pair<std::string_view, E>, 4> names{
      {{"float32", E::float32},
       {"bfloat16", E::bfloat16},
       {"fixed16", E::fixed16},
       {"bfloat16_rechecked", E::bfloat16_rechecked}}};
};
