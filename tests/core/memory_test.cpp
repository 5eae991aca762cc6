// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/memory.hpp"

#include <sys/resource.h>

#include <cstdlib>
#include <vector>

#include "catch.hpp"
#include "foresight/core/tensor.hpp"
#include "sanitized.hpp"

namespace foresight::memory_test {
namespace {

[[maybe_unused]] long minor_faults() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

// As a planner does: several blocks alive at once, and all of them freed.
[[maybe_unused]] void take_and_free(int count, int64_t megabytes) {
  std::vector<Tensor> blocks;
  for (int i = 0; i < count; ++i) blocks.push_back(at::ones({megabytes << 18}));
}

// Pages of 4 kB that the system gives for taking and freeing the blocks five times, once they have
// been taken before: blocks have to come from somewhere first, and glibc takes a while to find all
// of them a place for good.
[[maybe_unused]] long pages_taken_again(int count, int64_t megabytes) {
  for (int i = 0; i < 40; ++i) take_and_free(count, megabytes);
  const auto before = minor_faults();
  for (int i = 0; i < 5; ++i) take_and_free(count, megabytes);
  return minor_faults() - before;
}

}  // namespace

TEST_CASE("memory that was freed is not asked of the system again") {
#if !defined(__GLIBC__) || FORESIGHT_SANITIZED
  WARN("skipped: another allocator than glibc's is at work");
#else
  // Without the calls glibc gives most of the blocks back every time.
  keep_freed_memory();
  CHECK(pages_taken_again(4, 8) < 10000);  // written anew they are 41,000
  keep_all_freed_memory();
  CHECK(pages_taken_again(2, 48) < 10000);  // 123,000
#endif
}

}  // namespace foresight::memory_test
