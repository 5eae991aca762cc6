// SPDX-License-Identifier: Apache-2.0
// Types of imported numbers that a model keeps in float32, and what an export makes of them.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "foresight/io/bundle.hpp"

namespace foresight::cli {

/// Keys of a bundle's provenance below `imported`, in bundles of families that compute in float32:
/// the type that all floating-point numbers had ("bfloat16"), or, where tensors had several,
/// {"default": the most frequent, "others": {tensor: its type}}. Neither is there where all is
/// float32.
inline constexpr const char* kStoredType = "stored_type";
inline constexpr const char* kStoredTypes = "stored_types";

/// Adds them to `imported`. `read`: the file's tensors that an export gives back, by its names; what
/// an import leaves out does not count.
void add_stored_types(nlohmann::json& imported, const io::NamedTensors& read);

/// Adds to a bundle's `tensors` those of `read` that float32 rounds, below io::kImportedPrefix.
/// Returns how many.
int64_t keep_rounded(io::NamedTensors& tensors, const io::NamedTensors& read);

/// Turns an imported bundle's float32 tensors back. `as_imported`: whether they are under the names
/// of the import; where they are not, or rounded ones go by other names, several types and rounded
/// numbers are left float32, and that is said. Numbers that the type does not hold, or that are no
/// longer the imported ones, stay float32, too.
void restore_types(io::NamedTensors& tensors, const io::Bundle& bundle, bool as_imported);

}  // namespace foresight::cli
