// SPDX-License-Identifier: Apache-2.0
// Weights of a linear layer laid out for packed_product.inl: as float32, or as 16-bit integers with
// a scale for every output channel and block of input channels.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>
#include <variant>
#include <vector>

#include "foresight/core/tensor.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn::packing {

inline constexpr int64_t kBlock = 256;   // most channels of one sum; a panel of as many fits in L1
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

/// A Value is float, or std::int16_t with scales.
template <class Value>
inline constexpr bool kHasScales = !std::is_same_v<Value, float>;
/// Input channels that lie side by side for an output channel.
template <class Value>
inline constexpr int64_t kSideBySide = kHasScales<Value> ? 2 : 1;

/// Weights [out,in] by block, panel and group of kSideBySide channels:
/// [blocks][panels][block_step/group][16][group], so that all panels of a block are one stream.
template <class Value>
struct WeightsView {
  const Value* values;
  const float* scales;  // [panels][blocks][16], 1 for floats
  const float* bias;    // [panels][16]
  int64_t in, out, block, blocks, panels;

  int64_t block_step() const { return rounded_up(block, kStep); }
  int64_t length(int64_t b) const { return std::min(block, in - b * block); }
  int64_t in_padded() const {
    return (blocks - 1) * block_step() + rounded_up(length(blocks - 1), kStep);
  }
  const Value* values_of(int64_t panel, int64_t b) const {
    return values + (b * block_step() * panels + panel * rounded_up(length(b), kStep)) * kColumns;
  }
  const float* scales_of(int64_t panel, int64_t b) const {
    return scales + (panel * blocks + b) * kColumns;
  }
};

/// Rows, or one block of them; readable up to a multiple of kRows.
template <class Value>
struct RowsView {
  const Value* values;
  int64_t step;         // from row to row
  const float* scales;  // 1 for floats
  int64_t scale_step;
  int64_t count;

  RowsView behind(int64_t row) const {  // a multiple of kRows
    return {values + row * step, step, scales + row * scale_step, scale_step, count - row};
  }
  RowsView block(int64_t b, const WeightsView<Value>& weights) const {
    return {values + b * weights.block_step(), step, scales + b, scale_step, count};
  }
};

/// One block of x as integers and their scale; see packed_product.inl.
float quantise(const float* x, int64_t n, std::int16_t* to);

/// For vectors that begin where a cache line does.
template <class T>
struct OnCacheLines {
  using value_type = T;
  static constexpr std::align_val_t kLine{64};
  OnCacheLines() = default;
  template <class Other>
  OnCacheLines(const OnCacheLines<Other>&) {}
  T* allocate(std::size_t n) { return static_cast<T*>(::operator new(n * sizeof(T), kLine)); }
  void deallocate(T* at, std::size_t) { ::operator delete(at, kLine); }
  bool operator==(const OnCacheLines&) const = default;
};

/// Owns what a WeightsView looks at: as many bytes a weight as a Value has.
template <class Value>
class PackedWeights {
 public:
  PackedWeights() = default;
  /// Weights [out,in] and bias [out] (may be undefined) of any floating type on the CPU, in blocks
  /// of `block` <= kBlock channels.
  PackedWeights(const Tensor& weight, const Tensor& bias, int64_t block = kBlock);

  WeightsView<Value> view() const {
    auto view = sizes_;
    view.values = values_.data();
    view.scales = scales_.data();
    view.bias = bias_.data();
    return view;
  }
  int64_t bytes() const {
    return static_cast<int64_t>(values_.size() * sizeof(Value) +
                                (scales_.size() + bias_.size()) * sizeof(float));
  }

 private:
  WeightsView<Value> sizes_{};
  std::vector<Value, OnCacheLines<Value>> values_;
  std::vector<float> scales_, bias_;
};

/// Weights in the one or the other form.
class AnyWeights {
 public:
  template <class Value>
  explicit AnyWeights(PackedWeights<Value> weights) : weights_(std::move(weights)) {}

  template <class Visitor>
  auto visit(Visitor&& visitor) const {
    return std::visit(std::forward<Visitor>(visitor), weights_);
  }
  /// These, in the form of others.
  template <class Value>
  const PackedWeights<Value>& like(const PackedWeights<Value>&) const {
    return std::get<PackedWeights<Value>>(weights_);
  }

 private:
  std::variant<PackedWeights<float>, PackedWeights<std::int16_t>> weights_;
};

inline std::shared_ptr<const AnyWeights> packed(const Tensor& weight, const Tensor& bias,
                                                PackedFormat format, int64_t block = kBlock) {
  if (format == PackedFormat::float32)
    return std::make_shared<AnyWeights>(PackedWeights<float>(weight, bias, block));
  return std::make_shared<AnyWeights>(PackedWeights<std::int16_t>(weight, bias, block));
}

}  // namespace foresight::nn::packing
