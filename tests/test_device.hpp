// SPDX-License-Identifier: Apache-2.0
// Where parity tests and device tests compute: $FORESIGHT_TEST_DEVICE, "cpu" where it is unset,
// "cuda" or "stand-in" (stand_in_device.hpp). Fixtures are read onto it and the models of fixtures
// made on it, so that one test serves every device.
#pragma once

#include <cstdlib>
#include <string>

#include "foresight/core/device.hpp"
#include "stand_in_device.hpp"

namespace foresight {

inline c10::Device test_device() {
  static const c10::Device device = [] {
    const char* variable = std::getenv("FORESIGHT_TEST_DEVICE");
    const std::string name = variable ? variable : "cpu";
    if (name == "stand-in") return stand_in_device();
    const auto device = open_device(name);
    return device.is_cpu() ? device : c10::Device(device.type(), 0);  // as tensors tell it
  }();
  return device;
}

/// Whether the device computes in bfloat16 under autocast: the stand-in does not.
inline bool has_autocast() { return test_device().is_cpu() || test_device().is_cuda(); }

/// Whether tests run where they usually do. What needs the CPU (float32's packed weights, say) asks
/// this.
inline bool on_cpu() { return test_device().is_cpu(); }

}  // namespace foresight
