// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/memory.hpp"

#include <cstdlib>

namespace foresight {

void keep_freed_memory() noexcept {
#ifdef __GLIBC__
  // glibc takes large blocks from the system one by one, until one is freed: from then on blocks up
  // to that size come from its heap, whose end it keeps up to twice that size (mallopt(3),
  // M_MMAP_THRESHOLD). This is the largest block to which it adapts. It is never written, and so
  // takes no memory.
  static const bool adapted = [] {
    constexpr std::size_t kLargest = (std::size_t{32} << 20) - 8192;
    void* volatile block = std::malloc(kLargest);
    std::free(block);
    return true;
  }();
  static_cast<void>(adapted);
#endif
}

}  // namespace foresight
