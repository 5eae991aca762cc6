// SPDX-License-Identifier: Apache-2.0
// DinoWm to and from a bundle, backbone included.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/dino_wm.hpp"
#include "foresight/models/dino_wm_checkpoint.hpp"

namespace foresight::models {

/// Family name of DinoWm bundles.
inline constexpr const char* kDinoWmFamily = "dino_wm";

/// The configuration that describes `model`; planner and provenance are the caller's to fill.
FORESIGHT_API io::BundleConfig dino_wm_bundle_config(const DinoWm& model);

/// Writes config.json and weights. `config` comes from dino_wm_bundle_config(), possibly with
/// planner and provenance. Throws Error(invalid_argument) if it is of another family; otherwise as
/// io::write_bundle().
FORESIGHT_API void write_dino_wm(const std::filesystem::path& folder, const DinoWm& model,
                                 const io::BundleConfig& config);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit, before a network of other sizes than theirs is made. With
/// io::Placement::share the weights stay in the bundle's mapped file, with share_frozen the
/// backbone's alone, see docs/checkpoints.md.
FORESIGHT_API std::shared_ptr<DinoWm> read_dino_wm(const io::Bundle& bundle,
                                                   io::Placement placement = io::Placement::copy);

/// A note for the provenance of a bundle of the published `tensors`: their layout, and how a
/// PreJEPA's names its backbone, where they hold one. export_dino_wm() follows it.
FORESIGHT_API nlohmann::json dino_wm_source(const io::NamedTensors& tensors);

/// The weights of a bundle in `layout`, unchanged: predictor and embeddings (dino_wm_tensors()),
/// and of a PreJEPA that was imported as a whole also the backbone. Throws Error as
/// dino_wm_tensors().
FORESIGHT_API io::NamedTensors export_dino_wm(const io::Bundle& bundle, DinoWmLayout layout);

}  // namespace foresight::models
