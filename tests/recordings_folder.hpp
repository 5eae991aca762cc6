// SPDX-License-Identifier: Apache-2.0
// Where the recorded episodes and clips that tests read are.
#pragma once

#include <cstdlib>
#include <filesystem>

namespace foresight::test {

/// $FORESIGHT_RECORDINGS, or those beside the tests.
inline std::filesystem::path recordings() {
  const char* chosen = std::getenv("FORESIGHT_RECORDINGS");
  return chosen != nullptr ? std::filesystem::path(chosen)
                           : std::filesystem::path(FORESIGHT_TEST_DATA) / "recordings";
}

}  // namespace foresight::test
