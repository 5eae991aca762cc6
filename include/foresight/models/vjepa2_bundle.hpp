// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2, a probe behind it and V-JEPA 2-AC to and from bundles.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "foresight/io/bundle.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/attentive_probe.hpp"
#include "foresight/models/vjepa2.hpp"
#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/models/vjepa2_checkpoint.hpp"

namespace foresight::models {

/// Family names of the bundles.
inline constexpr const char* kVJepa2Family = "vjepa2";
inline constexpr const char* kVJepa2AcFamily = "vjepa2_ac";
/// The head of a vjepa2 bundle under which an attentive probe is kept.
inline constexpr const char* kAttentiveProbeHead = "attentive_probe";

/// The configuration that describes a model; planner and provenance are the caller's to fill.
/// VJepa2 has no actions and no dynamics: its observation is one clip, "pixels" [T,H,W,3].
FORESIGHT_API io::BundleConfig vjepa2_bundle_config(const VJepa2& model);
FORESIGHT_API io::BundleConfig vjepa2_ac_bundle_config(const VJepa2Ac& model);

/// Writes config.json and weights, and those of `probe` if there is one. `config` comes from the
/// functions above. Throws Error(invalid_argument) if it is of another family or the probe of
/// tokens of another width; otherwise as io::write_bundle().
FORESIGHT_API void write_vjepa2(const std::filesystem::path& folder, const VJepa2& model,
                                io::BundleConfig config, const AttentiveProbe* probe = nullptr);
FORESIGHT_API void write_vjepa2_ac(const std::filesystem::path& folder, const VJepa2Ac& model,
                                   const io::BundleConfig& config);

/// Adds a probe to a bundle that is not written yet. Throws Error(invalid_argument) for one of
/// tokens of another width than config's encoder has.
FORESIGHT_API void add_attentive_probe(io::BundleConfig& config, io::NamedTensors& tensors,
                                       const AttentiveProbe& probe);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit, before a network of other sizes than theirs is made. With
/// io::Placement::share the weights stay in the bundle's mapped file, with share_frozen those of
/// VJepa2Ac's encoder alone, see docs/checkpoints.md.
FORESIGHT_API std::shared_ptr<VJepa2> read_vjepa2(const io::Bundle& bundle,
                                                  io::Placement placement = io::Placement::copy);
FORESIGHT_API std::shared_ptr<VJepa2Ac> read_vjepa2_ac(
    const io::Bundle& bundle, io::Placement placement = io::Placement::copy);

/// What a bundle's configuration says of its probe; nothing if it has none. Throws Error as
/// read_vjepa2().
FORESIGHT_API std::optional<AttentiveProbeOptions> attentive_probe_options(
    const io::BundleConfig& config, const std::string& source);
/// The probe of a vjepa2 bundle, as read_vjepa2() reads the network before it; null if it has none.
/// A head alone is not compared with the bundle's checksum, which is of all tensors together:
/// read_vjepa2() does that.
FORESIGHT_API std::shared_ptr<AttentiveProbe> read_attentive_probe(const io::Bundle& bundle);

/// The weights of a bundle, its probe's included, under published names, unchanged; V-JEPA 2-AC has
/// its own code's alone. Throws Error(unsupported) where that code would compute something else
/// (require_layout(), published_vjepa2()).
FORESIGHT_API io::NamedTensors export_vjepa2(const io::Bundle& bundle, VJepa2Layout layout);
FORESIGHT_API io::NamedTensors export_vjepa2_ac(const io::Bundle& bundle);

}  // namespace foresight::models
