// SPDX-License-Identifier: Apache-2.0
// The window of past frames and action blocks that a model with history keeps in its State: rings
// [N,W-1,...], oldest first, of which the newest filled()-1 rows count.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::models {

/// The last `count` rows of a ring.
inline Tensor newest(const Tensor& ring, int64_t count) {
  return ring.narrow(1, ring.size(1) - count, count);
}

/// A ring without its oldest row and with `row` [N,1,...] as its newest.
inline Tensor pushed(const Tensor& ring, const Tensor& row) {
  return at::cat({ring.slice(1, 1), row}, 1);
}

/// Every run of `length` consecutive rows of [B,T,...], the first `count` starts:
/// [B*count,length,...].
inline Tensor runs(const Tensor& rows, int64_t length, int64_t count) {
  return rows.unfold(1, length, 1).narrow(1, 0, count).movedim(-1, 2).flatten(0, 1);
}

}  // namespace foresight::models
