// SPDX-License-Identifier: Apache-2.0
// Temporary files and folders beside their target. Each is locked (flock) while its writer lives,
// so that the next writer can tell an abandoned one, left by a killed process, from one in use, and
// remove it.
#pragma once

#include <filesystem>

#include "descriptor.hpp"

namespace foresight::io {

/// A locked temporary. `handle` holds the lock; for a file it is open for writing.
struct Temporary {
  std::filesystem::path path;
  Descriptor handle;
};

/// Creates `<target>.tmp-<random>` as an empty file, locked.
Temporary create_temporary_file(const std::filesystem::path& target);

/// Creates `<target>.tmp-<random>` as an empty folder, locked.
Temporary create_temporary_folder(const std::filesystem::path& target);

/// Removes every `<target>.tmp-*` that no living process has locked. Never throws: leftovers are a
/// nuisance, not a reason to fail.
void remove_abandoned(const std::filesystem::path& target) noexcept;

/// The same for every target in `folder`, not in folders below it.
void remove_abandoned_in(const std::filesystem::path& folder) noexcept;

/// Flushes a folder, so that names created or renamed in it survive a power cut. Filesystems that
/// cannot are ignored.
void sync_folder(const std::filesystem::path& folder) noexcept;

/// `target` with symbolic links followed and a parent folder that is never empty.
std::filesystem::path resolved_target(const std::filesystem::path& target);

}  // namespace foresight::io
