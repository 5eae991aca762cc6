// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/memory.hpp"

#include <sys/resource.h>

#include <cstdlib>
#include <vector>

#include "catch.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::memory_test {
namespace {

[[maybe_unused]] long minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// As a planner does: several blocks alive at once, and all of them freed.
[[maybe_unused]] void take_and_free() {
  std::vector<Tensor> blocks;
  for (int i = 0; i < 4; ++i) blocks.push_back(at::ones({2 << 20}));  // 8 MB
}

}  // namespace

TEST_CASE("memory that was freed is not asked of the system again") {
#if !defined(__GLIBC__) || defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  WARN("skipped: another allocator than glibc's is at work");
#else
  keep_freed_memory();
  // The blocks have to come from somewhere first, and glibc takes a while to find all of them a
  // place for good. Without the call it gives most of them back every time.
  for (int i = 0; i < 40; ++i) take_and_free();
  const auto before = minor_faults();
  for (int i = 0; i < 5; ++i) take_and_free();
  CHECK(minor_faults() - before < 10000);  // written anew, these blocks are 41,000 pages of 4 kB
#endif
}

}  // namespace foresight::memory_test
