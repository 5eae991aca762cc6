// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/memory.hpp"

#include <cstdlib>

#ifdef __GLIBC__
#include <malloc.h>

#include <string_view>
#endif

namespace foresight {
namespace {

#ifdef __GLIBC__
bool set_by_environment() {
  const char* tunables = std::getenv("GLIBC_TUNABLES");
  return std::getenv("MALLOC_MMAP_THRESHOLD_") != nullptr ||
         std::getenv("MALLOC_TRIM_THRESHOLD_") != nullptr ||
         (tunables != nullptr &&
          std::string_view(tunables).find("glibc.malloc") != std::string_view::npos);
}
#endif

}  // namespace

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

void keep_all_freed_memory() noexcept {
#ifdef __GLIBC__
  static const bool set = [] {
    if (set_by_environment()) return false;
    constexpr int kLargest = 1 << 30, kKept = 2147483647;  // the latter is all that an int holds
    return mallopt(M_MMAP_THRESHOLD, kLargest) != 0 && mallopt(M_TRIM_THRESHOLD, kKept) != 0;
  }();
  static_cast<void>(set);
#endif
}

}  // namespace foresight
