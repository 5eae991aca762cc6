// SPDX-License-Identifier: Apache-2.0
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// What all candidates of a problem share, once for each: [B,...] -> [B*S,...].
inline Tensor repeat_rows(const Tensor& x, int64_t samples) {
  auto shape = x.sizes().vec();
  shape.insert(shape.begin() + 1, samples);
  return x.unsqueeze(1).expand(shape).flatten(0, 1);
}

}  // namespace foresight::nn
