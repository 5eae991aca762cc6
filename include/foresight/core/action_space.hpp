// SPDX-License-Identifier: Apache-2.0
// What one action is: dimensions, limits, normalisation, and how many raw actions make one model
// step.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight {

/// Describes actions at the two places where they differ: *raw* as a robot takes them ([..., dim],
/// physical units, box limits) and *normalised blocks* as models and planners see them ([..., A], A
/// = block * dim, `block` consecutive raw actions in time order, each (raw - mean) / std).
struct FORESIGHT_API ActionSpace {
  int64_t dim = 1;           ///< raw action dimension
  int64_t block = 1;         ///< raw actions per model step (LeWM: 5)
  std::vector<double> low;   ///< raw lower limits [dim]; empty: unbounded
  std::vector<double> high;  ///< raw upper limits [dim]; empty: unbounded
  std::vector<double> mean;  ///< raw mean [dim]; empty: zeros
  std::vector<double> std;   ///< raw population standard deviation [dim]; empty: ones
  bool discrete =
      false;  ///< true: `dim` symbols as one-hot rows; limits and statistics do not apply

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim, "raw action dimension (number of symbols if discrete)");
    visit("block", self.block, "raw actions per model step");
    visit("low", self.low, "raw lower limits, one per dimension; empty: unbounded");
    visit("high", self.high, "raw upper limits, one per dimension; empty: unbounded");
    visit("mean", self.mean, "raw mean per dimension; empty: zeros");
    visit("std", self.std, "raw population standard deviation per dimension; empty: ones");
    visit("discrete", self.discrete, "one-hot symbols instead of real vectors");
  }
  std::vector<std::string> validate() const;

  /// A: width of one action block.
  int64_t width() const { return dim * block; }
  bool bounded() const { return !low.empty() || !high.empty(); }

  /// Raw actions [..., block, dim] or [..., block*dim] -> normalised blocks [..., A]. NaN becomes 0
  /// after normalising (recorders write NaN for the action of a reset step).
  Tensor normalise(const Tensor& raw) const;
  /// Normalised blocks [..., A] -> raw actions [..., block, dim]. Not clamped.
  Tensor denormalise(const Tensor& blocks) const;
  /// Limits of a normalised block, [A] each, -inf/+inf where unbounded.
  Tensor block_low(const at::TensorOptions& options = {}) const;
  Tensor block_high(const at::TensorOptions& options = {}) const;
  /// Clamps raw actions [..., dim] to the box.
  Tensor clamp_raw(const Tensor& raw) const;
};

}  // namespace foresight
