// SPDX-License-Identifier: Apache-2.0
// Activation checkpointing (arXiv 1604.06174): a block keeps only its input for the backward pass
// and computes the rest again there. Of activations the inputs of all blocks and what one computes
// are in memory; a forward pass more is computed (docs/training.md has a measurement).
#pragma once

#include <cstdint>
#include <functional>

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// While one exists, the blocks that this thread computes with gradient are recomputed in the
/// backward pass. The transformers' blocks are: of Vit, VideoVit, the masked, the AdaLN, the patch
/// and the frame-causal predictor.
class FORESIGHT_API RecomputeScope {
 public:
  RecomputeScope();
  ~RecomputeScope();
  RecomputeScope(const RecomputeScope&) = delete;
  RecomputeScope& operator=(const RecomputeScope&) = delete;

  /// Blocks that this scope has met so far; 0: the network has none that can be recomputed.
  int64_t blocks() const noexcept { return blocks_; }

 private:
  friend FORESIGHT_API bool recomputes() noexcept;
  RecomputeScope* outer_;
  int64_t blocks_ = 0;
};

/// Whether a block that is computed now should be recomputed; counts it if so.
FORESIGHT_API bool recomputes() noexcept;

using RecomputedBlock = std::function<Tensor(const Tensor& x, const Tensor& condition)>;

namespace detail {
FORESIGHT_API Tensor recompute(RecomputedBlock block, const Tensor& x, const Tensor& condition);
}

/// block(x, condition), of which the backward pass computes everything again, with the same dropout
/// masks and autocast. Everything that needs a gradient, but for parameters, must be x or
/// `condition` (which may be undefined). What `block` refers to must live until the backward pass:
/// capture by value.
template <class Block>
Tensor recomputed(const Block& block, const Tensor& x, const Tensor& condition = {}) {
  return recomputes() ? detail::recompute(block, x, condition) : block(x, condition);
}

}  // namespace foresight::nn
