// SPDX-License-Identifier: Apache-2.0
// Reads one picture from an image or video file.
#pragma once

#include <string>

#include "foresight/core/tensor.hpp"

namespace foresight::cli {

/// uint8 [H,W,3] of a PNG or JPEG file, or of a video: "clip.mp4:12" is its frame 12; without a
/// number, the first. Throws Error(not_found | bad_file).
Tensor read_picture(const std::string& name);

}  // namespace foresight::cli
