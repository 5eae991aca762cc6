// SPDX-License-Identifier: Apache-2.0
// The last gate before the robot: whatever was planned, what leaves is finite, within the box, and
// no faster away from the last action than allowed.
#pragma once

#include <vector>

#include "foresight/core/action_space.hpp"

namespace foresight {

/// Box and rate limits of raw actions. Limits are compared in float64 with the float32 value that
/// is sent, so that not even the rounding of a limit lets an action outside.
class FORESIGHT_API ActionLimits {
 public:
  /// The box is `space`'s. `max_step`: largest change per control step and raw dimension, +infinity
  /// where free; empty: no rate limits. Throws Error(invalid_option) unless it is empty or has
  /// space.dim positive values; for a discrete space it must be empty.
  explicit ActionLimits(const ActionSpace& space, std::vector<double> max_step = {});

  /// Raw actions [B,dim] -> the nearest ones within reach of `previous` [B,dim], the raw actions
  /// sent just before (NaN: unknown, no rate limit), and within the box; float32 on the CPU. Where
  /// the previous action lies so far outside the box that both cannot hold, the box wins. A value
  /// that is not finite becomes the previous one, or 0 if that is unknown, brought within the
  /// limits.
  Tensor apply(const Tensor& raw, const Tensor& previous) const;
  /// The same without a previous action.
  Tensor apply(const Tensor& raw) const;

  const std::vector<double>& max_step() const noexcept { return max_step_; }

 private:
  float limited(double value, double previous, std::size_t dimension) const;

  int64_t dim_;
  std::vector<double> low_, high_, max_step_;
};

}  // namespace foresight
