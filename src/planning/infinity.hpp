// SPDX-License-Identifier: Apache-2.0
// What an unusable candidate costs in a ranking.
#pragma once

#include <limits>

namespace foresight::detail {
inline constexpr double kInfinity = std::numeric_limits<double>::infinity();
}  // namespace foresight::detail
