// SPDX-License-Identifier: Apache-2.0
// The order in memory in which convolutions are fast.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// The same pictures [N,C,h,w], on a GPU with the channels of a pixel side by side: tensor cores
/// take them so, and what follows a convolution keeps the order.
inline Tensor convolved_pictures(const Tensor& pictures) {
  return pictures.is_cuda() ? pictures.contiguous(at::MemoryFormat::ChannelsLast) : pictures;
}

}  // namespace foresight::nn
