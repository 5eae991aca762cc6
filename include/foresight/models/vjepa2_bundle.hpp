// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 and V-JEPA 2-AC to and from bundles.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"

namespace foresight::models {

/// Family names of the bundles.
inline constexpr const char* kVJepa2Family = "vjepa2";
inline constexpr const char* kVJepa2AcFamily = "vjepa2_ac";

/// The configuration that describes a model; planner and provenance are the caller's to fill.
/// VJepa2 has no actions and no dynamics: its observation is one clip, "pixels" [T,H,W,3].
FORESIGHT_API io::BundleConfig vjepa2_bundle_config(const VJepa2& model);
FORESIGHT_API io::BundleConfig vjepa2_ac_bundle_config(const VJepa2Ac& model);

/// Writes config.json and weights. `config` comes from the functions above. Throws
/// Error(invalid_argument) if it is of another family; otherwise as io::write_bundle().
FORESIGHT_API void write_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                                const io::BundleConfig& config);
FORESIGHT_API void write_vjepa2_ac(const std::filesystem::path& folder, const VJepa2Ac& model,
                                   const io::BundleConfig& config);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit.
FORESIGHT_API std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle);
FORESIGHT_API std::shared_ptr<VJepa2Ac> read_vjepa2_ac(const io::Bundle& bundle);

/// The weights of a bundle under published names, unchanged; V-JEPA 2-AC has its own code's alone.
/// Throws Error(unsupported) where that code would compute something else (require_layout()).
FORESIGHT_API io::NamedTensors export_vjepa2(const io::Bundle& bundle, VJepa2Layout layout);
FORESIGHT_API io::NamedTensors export_vjepa2_ac(const io::Bundle& bundle);

}  // namespace foresight::models
