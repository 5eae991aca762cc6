// SPDX-License-Identifier: Apache-2.0
// Pictures to PNG files, through FFmpeg's encoder, which is needed for video anyway.
#pragma once

#include <string>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// The bytes of a PNG file with the picture uint8 [H,W,3]. Throws Error(invalid_argument) for
/// another shape or type, or sides beyond 1..32768, Error(unsupported) where this FFmpeg has no PNG
/// encoder.
FORESIGHT_API std::string encode_png(const Tensor& picture);

}  // namespace foresight::data
