// SPDX-License-Identifier: Apache-2.0
// Whether a file is still the one that a data set was opened with. A recorder that appends to a
// data set or replaces its files would otherwise mix old tables with new pictures. Private to the
// data folder.
#pragma once

#include <sys/stat.h>

#include <cstdint>
#include <filesystem>

#include "../io/descriptor.hpp"
#include "foresight/core/fnv1a.hpp"

namespace foresight::data {

/// Size and time of the last change: what tells versions of a file apart without reading it.
struct FileStamp {
  std::int64_t bytes = 0;
  std::int64_t changed_s = 0, changed_ns = 0;
  bool operator==(const FileStamp&) const = default;
};

/// Throws Error(not_found) if there is no such file, Error(io_failure).
FileStamp file_stamp(const std::filesystem::path& path);

/// Of a file that is open.
FileStamp file_stamp(const struct stat& status);

/// Throws Error(bad_file) that names the file unless both are the same.
void require_same(const std::filesystem::path& path, const FileStamp& then, const FileStamp& now);

/// Throws Error(bad_file) if the file has another stamp now than `then`, Error(not_found) if it is
/// gone. Costs one call of the system, a microsecond.
void require_unchanged(const std::filesystem::path& path, const FileStamp& then);

/// The file, open for reading, while it has the stamp `then`; else none.
io::Descriptor open_unchanged(const std::filesystem::path& path, const FileStamp& then);

/// Adds 4 KiB at the beginning, in the middle and at the end of a file, or all of one that is no
/// larger. False where it cannot be read, or has another stamp than `then`.
bool add_sample(Fnv1a& hash, const std::filesystem::path& path, const FileStamp& then);

/// Adds `count` bytes from `offset` on, at most 4 KiB of them. False likewise.
bool add_piece(Fnv1a& hash, const std::filesystem::path& path, const FileStamp& then,
               std::int64_t offset, std::int64_t count);

}  // namespace foresight::data
