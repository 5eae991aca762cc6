// SPDX-License-Identifier: Apache-2.0
// Files of tensors that tell whether they are still what was written: of a disk that forgets, or a
// network file system that has copied a part. Bundles, checkpoints and best weights are such files.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "foresight/io/safetensors.hpp"

namespace foresight::io {

/// write_safetensors() of both, with the CRC-32C of all names, types, shapes, bytes and metadata
/// under "crc32c" in the metadata.
FORESIGHT_API void write_with_checksum(const std::filesystem::path& path,
                                       const NamedTensors& tensors,
                                       std::map<std::string, std::string> metadata);

/// What a file says of its content, eight hexadecimal digits; nothing in files of other writers and
/// of earlier versions.
FORESIGHT_API std::optional<std::string> told_checksum(const SafeTensors& file);

/// Throws Error(bad_file) naming the file if it holds something else than its checksum says. Files
/// without one pass. Reads the whole file, gigabytes a second where the processor has an
/// instruction for it, and once: an opened file that was found whole, and copies of it, pass from
/// then on, whatever is written into their tensors.
FORESIGHT_API void require_checksum(const SafeTensors& file);

}  // namespace foresight::io
