// SPDX-License-Identifier: Apache-2.0
// Mean and standard deviation of the dot's positions in EB-JEPA's Two Rooms data, as its authors
// give them: what a position probe is trained on, and what the environment normalises by.
#pragma once

#include <array>

namespace foresight::models {

inline constexpr std::array kEbPositionMean{31.5863, 32.0618};  ///< pixels: x, y
inline constexpr std::array kEbPositionStd{16.1025, 16.1353};   ///< pixels: x, y

}  // namespace foresight::models
