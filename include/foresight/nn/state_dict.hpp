// SPDX-License-Identifier: Apache-2.0
// A module's parameters and buffers as named tensors, and back, with strict checks.
#pragma once

#include <torch/nn/module.h>

#include <string_view>

#include "foresight/io/load_tensors.hpp"

namespace foresight::nn {

/// All parameters and buffers under their dotted names, in order of registration. The tensors share
/// storage with the module.
FORESIGHT_API io::NamedTensors state_dict(const torch::nn::Module& module);

/// Fills the module's parameters and buffers, which keep their device and floating type, from
/// `tensors`: io::load_into() with DtypeRule::same_kind. Strict: a missing, unexpected or misshaped
/// tensor is an Error(bad_file) that lists all of them, opens with `source`, and changes nothing.
/// Placement::share leaves large weights in the file that they are mapped from.
FORESIGHT_API void load_state_dict(torch::nn::Module& module, const io::NamedTensors& tensors,
                                   std::string_view source,
                                   io::Placement placement = io::Placement::copy);

/// Copies every parameter and buffer of `from` into `to`, a module of the same structure, with
/// their requires_grad flags and the training flag.
FORESIGHT_API void copy_state(const torch::nn::Module& from, torch::nn::Module& to);

/// Number of trainable scalars.
FORESIGHT_API int64_t parameter_count(const torch::nn::Module& module);

}  // namespace foresight::nn
