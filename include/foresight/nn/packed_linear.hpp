// SPDX-License-Identifier: Apache-2.0
// Linear layers for inference on the CPU whose weights were laid out ahead for the processor, and
// what surrounds them computed while rows are in its caches. Two formats:
//
// float32: what the layers themselves compute, up to rounding; where AVX2 and FMA are, a rollout of
// LeWM takes about a fifth less time, with AVX-512 a tenth (benchmarks/lewm_cem.cpp).
//
// fixed16: weights and activations as 16-bit integers with a scale for every block of 256 channels
// (block floating point), sums in 32 bits, everything else in float32. On processors without
// bfloat16 instructions it is what makes planning faster than float32 does: AVX2, and AVX-512 with
// VNNI, multiply twice as many 16-bit integers as floats. A block is scaled to the largest norm
// whose sums cannot overflow, which leaves about 11 bits for a typical value: an error of 1.4e-4 of
// a typical output, a tenth of bfloat16's.
#pragma once

#include <memory>
#include <string_view>

#include "foresight/core/tensor.hpp"
#include "foresight/nn/frozen.hpp"
#include "foresight/nn/module.hpp"

namespace foresight::nn {

/// What packed layers multiply.
enum class PackedFormat { float32, fixed16 };

/// Who computes. All give the same bits.
enum class PackedKernel {
  fastest,   ///< AVX-512 where the processor has it (fixed16: and its VNNI), or what avx2 gives
  avx2,      ///< AVX2 where the processor has it, and FMA
  portable,  ///< plain C++
};

/// Whether PackedKernel::fastest is more than plain C++ here.
FORESIGHT_API bool has_fast_packing();

struct Packing {
  PackedFormat format = PackedFormat::float32;
  PackedKernel kernel = PackedKernel::fastest;
};

namespace packing {
class AnyWeights;
}

/// Throws Error(unsupported) off the CPU and where a gradient would have to be recorded,
/// Error(invalid_argument) for another type than float32.
FORESIGHT_API void check_packed_input(const Tensor& x);

/// Whether what was laid out from `weights` may compute in their place: for inference without
/// gradients and autocast, while the weights are what they were.
FORESIGHT_API bool stands_in(const Frozen& weights, Mode mode);

/// Whether layers that were packed from `weights` are to compute in their place. fixed16: always;
/// throws Error(unsupported) for training and Error(invalid_argument) naming `holder` if the
/// weights have changed since. float32: where they may, see stands_in().
FORESIGHT_API bool packed_computes(const Frozen& weights, PackedFormat format, Mode mode,
                                   std::string_view holder);

/// Whether float32 layers can be packed and watched: all on the CPU, float32 (or counts), and made
/// outside of inference mode, whose tensors do not tell that they were written to.
FORESIGHT_API bool can_pack_float32(const std::vector<Tensor>& weights);

/// x W' + b with frozen weights. Packs a copy: later changes of the weights do not show. CPU only,
/// records no gradients. In fixed16, NaN, infinities and magnitudes from 2^100 on make a row NaN,
/// and blocks whose values are all below 2^-100 count as zero.
class FORESIGHT_API PackedLinear {
 public:
  /// weight [out,in], bias [out] or undefined, floating, on the CPU. Throws
  /// Error(invalid_argument), Error(unsupported) for another device.
  PackedLinear(const Tensor& weight, const Tensor& bias, const Packing& packing);

  /// float32 [...,in] -> [...,out]; rows are independent of each other and of the number of
  /// threads. Throws Error(invalid_argument) for another width or type, Error(unsupported) off the
  /// CPU and where a gradient would have to be recorded.
  Tensor apply(const Tensor& x) const;

  int64_t in() const;
  int64_t out() const;
  /// Memory of the packed weights: two (fixed16, and scales) or four bytes a weight.
  int64_t bytes() const;

 private:
  std::shared_ptr<const packing::AnyWeights> weights_;
  PackedKernel kernel_;
};

/// GELU(x W1' + b1) W2' + b2 in one pass: the hidden activations never leave the caches. GELU by
/// the error function, within 5e-7 max(1,|x|). Otherwise as PackedLinear.
class FORESIGHT_API PackedFeedForward {
 public:
  PackedFeedForward(const Tensor& in_weight, const Tensor& in_bias, const Tensor& out_weight,
                    const Tensor& out_bias, const Packing& packing);
  /// float32 [...,in] -> [...,out].
  Tensor apply(const Tensor& x) const;

 private:
  std::shared_ptr<const packing::AnyWeights> in_, out_;
  PackedKernel kernel_;
};

}  // namespace foresight::nn
