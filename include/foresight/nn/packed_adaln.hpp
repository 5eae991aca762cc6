// SPDX-License-Identifier: Apache-2.0
// An AdaLN-zero block (nn/adaln_block.hpp) for inference with packed weights
// (nn/packed_linear.hpp), all its layers in one pass over tiles of a few candidates: norms,
// modulation, attention, gates and GELU happen between the products while their rows are in the
// processor's caches.
#pragma once

#include <memory>

#include "foresight/nn/adaln_block.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

inline constexpr int64_t kWidestPackedHead = 256;

class FORESIGHT_API PackedAdaLn {
 public:
  /// Packs the block's weights. Throws Error(unsupported) off the CPU, for a block without output
  /// projection, and for heads wider than 256.
  PackedAdaLn(const AdaLnBlock& block, const Packing& packing);

  /// Whether forward() is to compute in the block's place; see packed_computes(). float32: and x
  /// has one token a frame.
  bool computes(const Tensor& x, Mode mode) const;

  /// AdaLnBlock::forward() for inference and one token a frame; float32. Throws Error(unsupported)
  /// where a gradient would have to be recorded and for several tokens a frame.
  Tensor forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                 KeyValues* present, Outputs outputs) const;

 private:
  using Weights = std::shared_ptr<const packing::AnyWeights>;

  AdaLnBlockSizes sizes_;
  Weights qkv_, attention_out_, lone_out_, hidden_, out_;
  torch::nn::LayerNorm attention_norm_, feed_forward_norm_;
  Frozen frozen_;
  Packing packing_;
};

}  // namespace foresight::nn
