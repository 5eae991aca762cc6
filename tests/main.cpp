// SPDX-License-Identifier: Apache-2.0
// main() of every test program. Asked for a GPU where none is usable it ends with kSkipped, which
// ctest shows as "Skipped".
#include <ATen/Context.h>

#include <cstdio>
#include <cstdlib>
#include <string_view>

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_session.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

int main(int argc, char** argv) {
  constexpr int kSkipped = 77;
  const char* device = std::getenv("FORESIGHT_TEST_DEVICE");
  if (device && std::string_view(device) == "cuda" && !at::hasCUDA()) {
    std::puts("skipped: no CUDA device is usable here");
    return kSkipped;
  }
  return Catch::Session().run(argc, argv);
}
