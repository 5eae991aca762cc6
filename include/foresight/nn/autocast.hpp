// SPDX-License-Identifier: Apache-2.0
// Scope of bfloat16 autocast; LibTorch has the switches but no guard (old values are restored on
// exit).
#pragma once

#include <ATen/autocast_mode.h>

#include "foresight/core/export.hpp"

namespace foresight::nn {

/// Whether this CPU multiplies bfloat16 by instructions made for it (AVX512-BF16, which processors
/// with AMX have too). On others bfloat16 is as exact, and slower than float32.
FORESIGHT_API bool cpu_multiplies_bfloat16();

class Autocast {
 public:
  Autocast(at::DeviceType device, bool enabled)
      : device_(device),
        was_enabled_(at::autocast::is_autocast_enabled(device)),
        was_dtype_(at::autocast::get_autocast_dtype(device)) {
    at::autocast::set_autocast_enabled(device_, enabled);
    if (enabled) at::autocast::set_autocast_dtype(device_, at::kBFloat16);
    at::autocast::increment_nesting();
  }
  ~Autocast() {
    if (at::autocast::decrement_nesting() == 0) at::autocast::clear_cache();
    at::autocast::set_autocast_dtype(device_, was_dtype_);
    at::autocast::set_autocast_enabled(device_, was_enabled_);
  }
  Autocast(const Autocast&) = delete;
  Autocast& operator=(const Autocast&) = delete;

 private:
  at::DeviceType device_;
  bool was_enabled_;
  at::ScalarType was_dtype_;
};

}  // namespace foresight::nn
