// SPDX-License-Identifier: Apache-2.0
// What attention remembers of tokens it has already seen, so that new tokens need not repeat them.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// Keys and values of the tokens so far, [N, heads, m, head_width] each.
struct KeyValues {
  Tensor keys, values;
};

}  // namespace foresight::nn
