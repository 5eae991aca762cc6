// SPDX-License-Identifier: Apache-2.0
// Hides the difference between Catch2 2 (Debian) and 3: include this instead of a Catch2 header.
#pragma once

// LibTorch's logging has a CHECK of its own, which ends the program. Its header comes first, so that no later include
// can put it back in the place of Catch's.
#include <c10/util/Logging.h>
#undef CHECK

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
using Catch::Approx;
namespace Catch {  // as it is called in Catch2 2
inline auto Contains(const std::string& part) { return Matchers::ContainsSubstring(part); }
}  // namespace Catch
/// Ends the test case as skipped, visibly.
#define FORESIGHT_SKIP(reason) SKIP(reason)
#else
#include <catch2/catch.hpp>
#define FORESIGHT_SKIP(reason)       \
  do {                               \
    WARN("SKIPPED: " << (reason));   \
    return;                          \
  } while (false)
#endif
