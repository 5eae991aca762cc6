// SPDX-License-Identifier: Apache-2.0
// A stand-in for a GPU on a machine that has none: what the library does on a GPU is run with every
// question of place asked. A tensor left on the CPU among those of the device, or a pointer into
// the device's memory read by the host, ends as it would end there: by LibTorch's error and by a
// segmentation fault. It says nothing of a GPU's arithmetic, kernels or speed.
#pragma once

#include <c10/core/Device.h>

namespace foresight {

c10::Device stand_in_device();

}  // namespace foresight
