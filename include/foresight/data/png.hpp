// SPDX-License-Identifier: Apache-2.0
// Pictures to PNG files, by zlib alone.
#pragma once

#include <string>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// The bytes of a PNG file with the picture uint8 [H,W,3]. Throws Error(invalid_argument) for
/// another shape or type, or sides beyond 1..32768.
FORESIGHT_API std::string encode_png(const Tensor& picture);

}  // namespace foresight::data
