// SPDX-License-Identifier: Apache-2.0
// LeJepa, encoder and projector, to and from a bundle.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/models/lejepa.hpp"

namespace foresight::models {

/// Family name of LeJepa bundles.
inline constexpr const char* kLeJepaFamily = "lejepa";

/// The configuration that describes `model`; provenance is the caller's to fill. There are no
/// actions and no dynamics: the observation is one picture.
FORESIGHT_API io::BundleConfig lejepa_bundle_config(const LeJepa& model);

/// Writes config.json and weights. `config` comes from lejepa_bundle_config(). Throws
/// Error(invalid_argument) if it is of another family; otherwise as io::write_bundle().
FORESIGHT_API void write_lejepa(const std::filesystem::path& folder, const LeJepa& model,
                                const io::BundleConfig& config);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit.
FORESIGHT_API std::shared_ptr<LeJepa> read_lejepa(const io::Bundle& bundle);

}  // namespace foresight::models
