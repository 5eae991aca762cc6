// SPDX-License-Identifier: Apache-2.0
// Reads a tensor where the sanitizers see it: they see what is compiled with them, and not what
// libtorch does.
#pragma once

#include <cstddef>

#include "foresight/core/tensor.hpp"

namespace foresight::fuzz {

inline volatile unsigned checksum = 0;  // so that nothing read for it is left out

/// All bytes of a contiguous tensor.
inline void read_every_byte(const Tensor& numbers) {
  const auto* bytes = static_cast<const unsigned char*>(numbers.const_data_ptr());
  unsigned sum = 0;
  for (std::size_t i = 0; i < numbers.nbytes(); ++i) sum += bytes[i];
  checksum = sum;
}

}  // namespace foresight::fuzz
