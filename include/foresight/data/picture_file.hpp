// SPDX-License-Identifier: Apache-2.0
// Single pictures from PNG and JPEG files. PNG is decoded by FFmpeg, JPEG by libjpeg.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// Whether a file begins as a PNG or JPEG picture does, whatever its name; false where it cannot be
/// read.
FORESIGHT_API bool begins_as_picture(const std::filesystem::path& path);

/// The picture in the bytes of a PNG or JPEG file as uint8 [H,W,3]; grey is repeated, alpha
/// dropped. `name` opens every message. Throws Error: bad_file for other bytes, damage, and a size
/// above 2^27 pixels; unsupported for PNG in a build without FFmpeg.
FORESIGHT_API Tensor decode_picture(std::string_view bytes, const std::string& name);

/// decode_picture() of a file, whose path opens messages. Throws Error: not_found, io_failure too.
FORESIGHT_API Tensor read_picture_file(const std::filesystem::path& path);

}  // namespace foresight::data
