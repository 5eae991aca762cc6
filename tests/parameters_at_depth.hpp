// SPDX-License-Identifier: Apache-2.0
// Sizes of published networks, without making them whole.
#pragma once

#include "foresight/nn/state_dict.hpp"

namespace foresight {

/// Parameters of a network of `depth` equal blocks, from those of one and of two blocks, which
/// `make(blocks)` gives.
template <class Make>
int64_t parameters_at_depth(int64_t depth, Make&& make) {
  const auto one = nn::parameter_count(*make(1)), two = nn::parameter_count(*make(2));
  return one + (two - one) * (depth - 1);
}

}  // namespace foresight
