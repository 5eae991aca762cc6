// SPDX-License-Identifier: Apache-2.0
// Single pictures from PNG and JPEG files.
#pragma once

#include <filesystem>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// Whether a file begins as a PNG or JPEG picture does, whatever its name; false where it cannot be
/// read.
FORESIGHT_API bool begins_as_picture(const std::filesystem::path& path);

/// The picture in a PNG or JPEG file as uint8 [H,W,3]; grey is repeated, alpha dropped. Throws
/// Error: not_found, io_failure; bad_file for other bytes, damage, and a size above 2^27 pixels.
FORESIGHT_API Tensor read_picture_file(const std::filesystem::path& path);

}  // namespace foresight::data
