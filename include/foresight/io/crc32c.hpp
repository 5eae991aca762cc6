// SPDX-License-Identifier: Apache-2.0
// The checksum of bundles, checkpoints and TensorBoard's event files.
#pragma once

#include <cstdint>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::io {

/// CRC-32C (Castagnoli, RFC 3720 section 12.1) of some bytes, behind those whose CRC is `before`.
FORESIGHT_API std::uint32_t crc32c(std::string_view bytes, std::uint32_t before = 0);

}  // namespace foresight::io
