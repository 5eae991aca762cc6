// SPDX-License-Identifier: Apache-2.0
// Weights of a linear layer as 16-bit integers with a scale for every output channel and block of
// input channels, laid out for fixed_point_product.inl.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::nn::fixed_point {

inline constexpr int64_t kBlock = 256;   // most channels of one integer sum
inline constexpr int64_t kColumns = 16;  // output channels of a panel
inline constexpr int64_t kRows = 6;      // rows of a tile: 6 x 16 sums fill 12 of 16 registers
inline constexpr int64_t kStep = 8;      // blocks are padded to a multiple of this with zeros
inline constexpr float kNorm = 46330;
inline constexpr float kLargest = 32766;       // of an integer
inline constexpr float kSmallest = 0x1p-100F;  // a block whose largest value is below counts as 0
inline constexpr float kOverflow = 0x1p100F;   // from here on a block comes out as NaN

inline constexpr int64_t rounded_up(int64_t n, int64_t step) {
  return (n + step - 1) / step * step;
}

/// Weights [out,in] as integers, by block, panel and pair of channels:
/// [blocks][panels][block_step/2][16][2], so that all panels of a block are read as one stream.
struct WeightsView {
  const std::int16_t* values;
  const float* scales;  // [panels][blocks][16]
  const float* bias;    // [panels][16]
  int64_t in, out, block, blocks, panels;

  int64_t block_step() const { return rounded_up(block, kStep); }
  int64_t length(int64_t b) const { return std::min(block, in - b * block); }
  int64_t in_padded() const {
    return (blocks - 1) * block_step() + rounded_up(length(blocks - 1), kStep);
  }
  const std::int16_t* values_of(int64_t panel, int64_t b) const {
    return values + (b * block_step() * panels + panel * rounded_up(length(b), kStep)) * kColumns;
  }
  const float* scales_of(int64_t panel, int64_t b) const {
    return scales + (panel * blocks + b) * kColumns;
  }
};

/// Rows as integers, or one block of them; readable up to a multiple of kRows.
struct RowsView {
  const std::int16_t* values;
  int64_t step;  // from row to row
  const float* scales;
  int64_t scale_step;
  int64_t count;

  RowsView block(int64_t b, const WeightsView& weights) const {
    return {values + b * weights.block_step(), step, scales + b, scale_step, count};
  }
};

/// One block of x as integers; see fixed_point_product.inl.
float quantise(const float* x, int64_t n, std::int16_t* to);

/// Owns what a WeightsView looks at: two bytes a weight.
class PackedWeights {
 public:
  PackedWeights() = default;
  /// Weights [out,in] and bias [out] (may be undefined) of any floating type on the CPU, in blocks
  /// of `block` <= kBlock channels.
  PackedWeights(const Tensor& weight, const Tensor& bias, int64_t block = kBlock);

  WeightsView view() const {
    auto view = sizes_;
    view.values = values_.data();
    view.scales = scales_.data();
    view.bias = bias_.data();
    return view;
  }
  int64_t bytes() const {
    return static_cast<int64_t>(values_.size() * sizeof(std::int16_t) +
                                (scales_.size() + bias_.size()) * sizeof(float));
  }

 private:
  WeightsView sizes_{};
  std::vector<std::int16_t> values_;
  std::vector<float> scales_, bias_;
};

}  // namespace foresight::nn::fixed_point
