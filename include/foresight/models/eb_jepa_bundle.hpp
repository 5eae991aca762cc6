// SPDX-License-Identifier: Apache-2.0
// EbJepa and its position probe to and from a bundle.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/models/eb_jepa.hpp"
#include "foresight/models/position_probe.hpp"

namespace foresight::models {

/// Family name of EbJepa bundles, and the head under which the probe is kept.
inline constexpr const char* kEbJepaFamily = "eb_jepa";
inline constexpr const char* kPositionProbeHead = "position_probe";

/// The configuration that describes `model`; planner and provenance are the caller's to fill.
FORESIGHT_API io::BundleConfig eb_jepa_bundle_config(const EbJepa& model);

/// Writes config.json and weights of `model`, and of `probe` if there is one. Throws
/// Error(invalid_argument) if config is of another family; otherwise as io::write_bundle().
FORESIGHT_API void write_eb_jepa(const std::filesystem::path& folder, const EbJepa& model,
                                 io::BundleConfig config, const PositionProbe* probe = nullptr);

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit.
FORESIGHT_API std::shared_ptr<EbJepa> read_eb_jepa(const io::Bundle& bundle);

/// The probe of a bundle, in inference mode; null if it has none. Throws Error as read_eb_jepa(). A
/// head alone is not compared with the bundle's checksum, which is of all tensors together:
/// read_eb_jepa() does that.
FORESIGHT_API std::shared_ptr<PositionProbe> read_position_probe(const io::Bundle& bundle);

}  // namespace foresight::models
