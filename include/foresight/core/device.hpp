// SPDX-License-Identifier: Apache-2.0
// Where tensors live and are computed, and what LibTorch is told before a GPU computes.
#pragma once

#include <string>
#include <string_view>

#include "foresight/core/tensor.hpp"

namespace foresight {

/// Whether open_device() knows the name, whatever this machine has.
FORESIGHT_API bool is_device_name(std::string_view name);

/// The device called "cpu", "cuda" (the current GPU, the first unless somebody chose) or
/// "cuda:<number>", ready for planning and training. For a GPU it also changes two settings of
/// LibTorch, for the whole program:
///  - float32 convolutions are float32: cuDNN would round factors to 10 bits (TF32). Who wants
///    speed has bfloat16;
///  - attention is not cuDNN's, which prepares every new number of rows for half a second: planners
///    with fewer candidates in every iteration, and growing windows, would wait each time.
/// Throws Error(invalid_option) for another name, Error(unsupported) for a GPU that is not there.
FORESIGHT_API at::Device open_device(std::string_view name);

/// The device for a log: "CPU name" or "GPU name", as the system tells it; its number where it does
/// not.
FORESIGHT_API std::string device_name(at::Device device);

}  // namespace foresight
