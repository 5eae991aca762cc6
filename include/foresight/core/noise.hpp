// SPDX-License-Identifier: Apache-2.0
// Randomness as an input. Everything random in the library takes a Noise&, so that a run repeats
// for a seed on any device and a reference's recorded draws can be replayed exactly.
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight {

/// One block of Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC
/// 2011): four 32-bit words from a 128-bit counter and a 64-bit key.
FORESIGHT_API std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> counter,
                                                      std::array<std::uint32_t, 2> key);

/// A source of random tensors.
class FORESIGHT_API Noise {
 public:
  virtual ~Noise() = default;
  /// Standard normal draws of any shape; floating dtype and device from `options`.
  virtual Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options = {}) = 0;
  /// Uniform draws in (0, 1), both ends excluded: log(u) and log(1-u) are finite.
  virtual Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options = {}) = 0;
};

/// Counter-based noise: element i of the k-th draw is a pure function of (seed, stream, position),
/// so that CPU and CUDA give the same uniforms bit for bit and the same normals up to the device's
/// rounding of log, cos and sin (a few float32 ulp).
class FORESIGHT_API PhiloxNoise final : public Noise {
 public:
  /// `stream` separates users of one seed (planner, loader, environment, ...).
  explicit PhiloxNoise(std::uint64_t seed, std::uint64_t stream = 0);

  /// Box-Muller on pairs of 24-bit uniforms; |z| <= 5.9.
  Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;
  Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;
  /// Integers uniform in [0, bound), dtype int64 on the CPU. Multiply-shift of 32 bits: bias <
  /// bound / 2^32.
  Tensor integers(std::int64_t bound, at::IntArrayRef shape);
  /// A random permutation of 0..n-1 (Fisher-Yates).
  std::vector<std::int64_t> permutation(std::int64_t n);

  /// Words of `count` consecutive blocks from `start`, uint32 values as int64 [count,4], by tensor
  /// operations on any device: what large draws off the CPU are made of. Equal to philox4x32() bit
  /// for bit.
  static Tensor words(std::uint64_t seed, std::uint64_t stream, std::uint64_t start,
                      std::int64_t count, const at::Device& device);

  /// Number of 128-bit blocks consumed so far: save it and seek() to continue a run exactly.
  std::uint64_t position() const noexcept { return position_; }
  void seek(std::uint64_t position) noexcept { position_ = position; }

 private:
  // Takes the blocks of `count` words and returns the first of them.
  std::uint64_t advance(std::int64_t count);
  Tensor integer_words(std::int64_t count);  // uint32 values as int64 [count], on the CPU

  std::uint64_t seed_, stream_, position_ = 0;
};

/// Replays tensors in the order in which they were pushed. A draw of another shape than the next
/// recorded one, or a draw when none is left, is an Error. The last dimensions must match exactly.
class FORESIGHT_API RecordedNoise final : public Noise {
 public:
  void push(Tensor draw) { draws_.push_back(std::move(draw)); }
  std::size_t remaining() const noexcept { return draws_.size(); }
  Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;
  Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options = {}) override;

 private:
  Tensor next(at::IntArrayRef shape, const at::TensorOptions& options);
  std::deque<Tensor> draws_;
};

}  // namespace foresight
