// SPDX-License-Identifier: Apache-2.0
// The directory of a zip archive: where each entry's bytes lie. Nothing is decompressed. (PKWARE
// APPNOTE 6.3, sections 4.3 and 4.5.3; torch writes its checkpoints this way so that they can be
// mapped, numpy its .npz files.)
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::io {

/// The bytes of one entry, as positions in the file.
struct ZipEntry {
  std::uint64_t begin = 0;
  std::uint64_t size = 0;    ///< as stored
  std::uint16_t method = 0;  ///< 0: not compressed
};

using ZipDirectory = std::map<std::string, ZipEntry, std::less<>>;

/// True if the bytes start as zip archives do.
FORESIGHT_API bool starts_like_zip(std::string_view file);

/// Reads the directory of the archive that `file` holds; every entry lies inside the file and no
/// two overlap. Checksums are not looked at: torch can be told not to write them. `name` opens
/// every message. Throws Error: bad_file if the archive is truncated or contradicts itself;
/// unsupported for an encrypted entry and for an archive of several volumes.
FORESIGHT_API ZipDirectory read_zip_directory(std::string_view file, const std::string& name);

/// Throws Error(unsupported) naming the first compressed entry, if there is one.
FORESIGHT_API void require_stored(const ZipDirectory& directory, const std::string& name);

}  // namespace foresight::io
