// SPDX-License-Identifier: Apache-2.0
// Where an axis is labelled: round numbers, chosen as in P. Heckbert, "Nice numbers for graph
// labels", Graphics Gems (1990), and powers of ten on a logarithmic axis.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/export.hpp"

namespace foresight::viz {

enum class Scale { linear, log10 };

/// Whether an axis ends at its outermost data (tight) or at the round number beyond it (loose).
enum class Fit { tight, loose };

/// Largest and, on a logarithmic axis, smallest magnitude that can be drawn; beyond them the
/// arithmetic of an axis would overflow.
inline constexpr double kLargestDrawn = 1e300;
inline constexpr double kSmallestDrawn = 1e-300;

/// One labelled position of an axis.
struct Tick {
  double value;
  std::string label;
};

/// An axis: the range that is drawn and its ticks, all of which lie inside the range.
struct Ticks {
  double low;
  double high;
  std::vector<Tick> ticks;
};

/// Ticks at multiples of 1, 2 or 5 times a power of ten, about `wanted` of them. low == high is
/// widened to a range around the value. Throws Error(invalid_argument) unless -kLargestDrawn <= low
/// <= high <= kLargestDrawn.
FORESIGHT_API Ticks linear_ticks(double low, double high, Fit fit = Fit::loose, int wanted = 5);

/// Ticks at powers of ten, thinned to about `wanted`; over less than two decades also at 2 and 5
/// times those. The range is widened to such numbers. Throws Error(invalid_argument) unless
/// kSmallestDrawn <= low <= high <= kLargestDrawn.
FORESIGHT_API Ticks log_ticks(double low, double high, int wanted = 5);

/// Widest label, in characters.
FORESIGHT_API int label_width(const Ticks& ticks);

}  // namespace foresight::viz
