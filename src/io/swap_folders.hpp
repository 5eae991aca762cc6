// SPDX-License-Identifier: Apache-2.0
// Putting a finished folder in the place of another.
#pragma once

#include <filesystem>

namespace foresight::io {

/// Renames folder `finished` to `target`. Where `target` exists, the two change names in one step
/// and the previous folder is then removed; filesystems that cannot exchange names get two renames,
/// between which `target` is missing for an instant. Throws Error(io_failure), with `target` as it
/// was.
void put_in_place(const std::filesystem::path& finished, const std::filesystem::path& target);

}  // namespace foresight::io
