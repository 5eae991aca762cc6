// SPDX-License-Identifier: Apache-2.0
// An AdaLN-zero block (nn/adaln_block.hpp) for inference in fixed point, all its layers in one pass
// over tiles of a few candidates: norms, modulation, attention, gates and GELU happen between the
// products while their rows are in the processor's caches.
#pragma once

#include <memory>

#include "foresight/nn/adaln_block.hpp"
#include "foresight/nn/fixed_point_linear.hpp"
#include "foresight/nn/frozen.hpp"

namespace foresight::nn {

class FORESIGHT_API FixedPointAdaLn {
 public:
  /// Packs the block's weights. Throws Error(unsupported) off the CPU, for a block without output
  /// projection, and for heads wider than 256.
  FixedPointAdaLn(const AdaLnBlock& block, FixedPointKernel kernel);

  /// AdaLnBlock::forward() for inference and one token a frame; float32. Throws
  /// Error(invalid_argument) if the block's weights have changed, Error(unsupported) where a
  /// gradient would have to be recorded and for several tokens a frame.
  Tensor forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                 KeyValues* present, Outputs outputs) const;

 private:
  AdaLnBlockSizes sizes_;
  std::shared_ptr<const fixed_point::PackedWeights> qkv_, attention_out_, lone_out_, hidden_, out_;
  torch::nn::LayerNorm attention_norm_, feed_forward_norm_;
  Frozen frozen_;
  FixedPointKernel kernel_;
};

}  // namespace foresight::nn
