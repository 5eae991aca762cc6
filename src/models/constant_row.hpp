// SPDX-License-Identifier: Apache-2.0
// Numbers of the options as a tensor, filled where it is used. A copy of at::tensor() would wait
// for a CUDA stream at every picture and could not be captured in a graph.
#pragma once

#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::models {

/// [n] of the type and on the device of `options`.
inline Tensor constant_row(const std::vector<double>& values, const at::TensorOptions& options) {
  const auto row = at::empty({static_cast<int64_t>(values.size())}, options);
  for (std::size_t i = 0; i < values.size(); ++i)
    row.select(0, static_cast<int64_t>(i)).fill_(values[i]);
  return row;
}

}  // namespace foresight::models
