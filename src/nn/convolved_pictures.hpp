// SPDX-License-Identifier: Apache-2.0
// The order in memory in which convolutions are fast.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// The same pictures [N,C,h,w] with the channels of a pixel side by side: a GPU's tensor cores take
/// them so, on a CPU pooling then works on vectors, and what follows a convolution keeps the order.
inline Tensor convolved_pictures(const Tensor& pictures) {
  return pictures.contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace foresight::nn
