// SPDX-License-Identifier: Apache-2.0
// Files of tensors that tell whether they are still what was written: of a disk that forgets, or a
// network file system that has copied a part.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "foresight/io/safetensors.hpp"

namespace foresight::train {

/// io::write_safetensors() of both, with the CRC-32C of all names, types, shapes, bytes and
/// metadata under "crc32c" in the metadata.
void write_with_checksum(const std::filesystem::path& path, const io::NamedTensors& tensors,
                         std::map<std::string, std::string> metadata);

/// Throws Error(bad_file) naming the file if it holds something else than its checksum says. Files
/// without one, of earlier versions, pass. Reads the whole file.
void require_checksum(const io::SafeTensors& file);

}  // namespace foresight::train
