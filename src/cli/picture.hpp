// SPDX-License-Identifier: Apache-2.0
// Reads one picture from an image or video file.
#pragma once

#include <string>

#include "foresight/core/tensor.hpp"

namespace foresight::cli {

/// uint8 [H,W,3]. "clip.mp4:12" is frame 12 of a video; without a number, the first frame. PNG,
/// JPEG and whatever else FFmpeg reads. Throws Error(not_found | bad_file).
Tensor read_picture(const std::string& name);

}  // namespace foresight::cli
