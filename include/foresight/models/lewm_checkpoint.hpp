// SPDX-License-Identifier: Apache-2.0
// Weights published for LeWM and PLDM, in whatever key layout they were saved.
#pragma once

#include <string>
#include <string_view>

#include "foresight/io/safetensors.hpp"
#include "foresight/models/jepa.hpp"

namespace foresight::models {

/// The key under which Jepa knows a tensor of a published checkpoint: without the marks of wrappers
/// (io::without_marks()) and the trainer's "model.", in the older layout of the ViT layers.
FORESIGHT_API std::string lewm_key(std::string_view key);

/// Copies a published state dict into `model`. Strict: throws Error(bad_file) as
/// nn::load_state_dict() does, also when two keys mean one tensor, and changes nothing then. The
/// released files hold no action statistics: put them into JepaOptions::action.
FORESIGHT_API void load_lewm(Jepa& model, const io::NamedTensors& tensors, std::string_view source);

}  // namespace foresight::models
