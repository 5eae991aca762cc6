// SPDX-License-Identifier: Apache-2.0
// Jepa and its value critic to and from a bundle, the folder that planning loads.
#pragma once

#include <filesystem>
#include <memory>

#include "foresight/io/bundle.hpp"
#include "foresight/models/jepa.hpp"
#include "foresight/models/value_critic.hpp"

namespace foresight::models {

/// Family name of Jepa bundles, and the head under which the value critic is kept.
inline constexpr const char* kJepaFamily = "jepa";
inline constexpr const char* kValueCriticHead = "value_critic";

/// The configuration that describes `model`; planner and provenance are the caller's to fill.
FORESIGHT_API io::BundleConfig jepa_bundle_config(const Jepa& model);

/// Writes config.json and weights of `model`, and of `critic` if there is one. `config` comes from
/// jepa_bundle_config(), possibly with planner, provenance and other heads, whose tensors
/// (prefixed, io::with_head_prefix()) are in `head_tensors`. Throws Error(invalid_argument) if
/// config is of another family; otherwise as io::write_bundle().
FORESIGHT_API void write_jepa(const std::filesystem::path& folder, const Jepa& model,
                              io::BundleConfig config, const ValueCritic* critic = nullptr,
                              io::NamedTensors head_tensors = {});

/// The model of a bundle, on the CPU, in the floating type it was saved in, in inference mode.
/// Throws Error: unsupported for another family; invalid_option for options that make no sense;
/// bad_file for tensors that do not fit.
FORESIGHT_API std::shared_ptr<Jepa> read_jepa(const io::Bundle& bundle);
/// read_jepa() of the bundle in `folder`.
FORESIGHT_API std::shared_ptr<Jepa> read_jepa(const std::filesystem::path& folder);

/// The value critic of a bundle, in inference mode; null if it has none. Throws Error as
/// read_jepa() does. A head alone is not compared with the bundle's checksum, which is of all
/// tensors together: the network's reader does that.
FORESIGHT_API std::shared_ptr<ValueCritic> read_value_critic(const io::Bundle& bundle);

}  // namespace foresight::models
