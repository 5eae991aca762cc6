// SPDX-License-Identifier: Apache-2.0
// Linear layers for inference in fixed point: weights and activations as 16-bit integers with a
// scale for every block of 256 channels (block floating point), sums in 32 bits, everything else in
// float32. On processors without bfloat16 instructions it is what makes planning faster than
// float32 does: AVX2 multiplies twice as many 16-bit integers as floats.
//
// A block is scaled to the largest norm whose sums cannot overflow, which leaves about 11 bits for
// a typical value: an error of 1.4e-4 of a typical output, a tenth of bfloat16's.
#pragma once

#include <memory>

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// Who computes. Both give the same bits.
enum class FixedPointKernel {
  fastest,   ///< AVX2 where the processor has it
  portable,  ///< plain C++
};

namespace fixed_point {
class PackedWeights;
}

/// Throws Error(unsupported) off the CPU and where a gradient would have to be recorded,
/// Error(invalid_argument) for another type than float32.
FORESIGHT_API void check_fixed_point_input(const Tensor& x);

/// x W' + b with frozen weights. Packs a copy: later changes of the weights do not show. CPU only,
/// records no gradients. NaN, infinities and magnitudes from 2^100 on make a row NaN; blocks whose
/// values are all below 2^-100 count as zero.
class FORESIGHT_API FixedPointLinear {
 public:
  /// weight [out,in], bias [out] or undefined, floating, on the CPU. Throws
  /// Error(invalid_argument), Error(unsupported) for another device.
  FixedPointLinear(const Tensor& weight, const Tensor& bias,
                   FixedPointKernel kernel = FixedPointKernel::fastest);

  /// float32 [...,in] -> [...,out]; rows are independent of each other and of the number of
  /// threads. Throws Error(invalid_argument) for another width or type, Error(unsupported) off the
  /// CPU and where a gradient would have to be recorded.
  Tensor apply(const Tensor& x) const;

  int64_t in() const;
  int64_t out() const;
  /// Memory of the packed weights: two bytes a weight, and scales.
  int64_t bytes() const;

 private:
  std::shared_ptr<const fixed_point::PackedWeights> weights_;
  FixedPointKernel kernel_;
};

/// GELU(x W1' + b1) W2' + b2 in one pass: the hidden activations never leave the caches. GELU by
/// the error function, within 5e-7 max(1,|x|). Otherwise as FixedPointLinear.
class FORESIGHT_API FixedPointFeedForward {
 public:
  FixedPointFeedForward(const Tensor& in_weight, const Tensor& in_bias, const Tensor& out_weight,
                        const Tensor& out_bias,
                        FixedPointKernel kernel = FixedPointKernel::fastest);
  /// float32 [...,in] -> [...,out].
  Tensor apply(const Tensor& x) const;

 private:
  std::shared_ptr<const fixed_point::PackedWeights> in_, out_;
  FixedPointKernel kernel_;
};

}  // namespace foresight::nn
