// SPDX-License-Identifier: Apache-2.0
// DinoWm to and from a bundle, backbone included.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/models/dino_wm.hpp"

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
/// bad_file for tensors that do not fit.
FORESIGHT_API std::shared_ptr<DinoWm> read_dino_wm(const io::Bundle& bundle);

}  // namespace foresight::models
