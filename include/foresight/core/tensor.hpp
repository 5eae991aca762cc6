// SPDX-License-Identifier: Apache-2.0
// The tensor type, and the shape checks with which every public function opens.
#pragma once

#include <ATen/ATen.h>

#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight {

using Tensor = at::Tensor;

/// Size of one axis in check_shape(): any value is accepted.
inline constexpr int64_t kAny = -1;

/// "[2, 3, 4]".
FORESIGHT_API std::string shape_string(at::IntArrayRef shape);

/// Throws Error(invalid_argument) naming `name`, its shape and the expected one unless they agree;
/// kAny in `expected` accepts any size. `letters` is how the expectation reads, e.g. "[B,S,H,A]".
FORESIGHT_API void check_shape(std::string_view name, const Tensor& tensor,
                               at::IntArrayRef expected, std::string_view letters);

/// Throws Error(non_finite) naming `name` if any element is NaN or infinite. Synchronises the
/// device.
FORESIGHT_API void check_finite(std::string_view name, const Tensor& tensor);

}  // namespace foresight
