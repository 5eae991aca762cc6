// SPDX-License-Identifier: Apache-2.0
// One block of a causal transformer that is conditioned by AdaLN-zero (Peebles and Xie, "Scalable
// diffusion models with transformers", ICCV 2023), in LeWM's form: each half applies two LayerNorms
// in a row, a plain one that is modulated by the condition, then an affine one that belongs to the
// attention or feed-forward part.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/nn/frame_attention.hpp"
#include "foresight/nn/packed_linear.hpp"

namespace foresight::nn {

/// Epsilon of the LayerNorm that is modulated.
inline constexpr double kPlainNormEpsilon = 1e-6;

struct AdaLnBlockSizes {
  int64_t width = 192;
  int64_t heads = 16;
  int64_t head_width = 64;
  int64_t mlp_width = 2048;
  double dropout = 0.0;
};

class PackedAdaLn;

/// State-dict keys: attn.{norm,to_qkv,to_out.0}.*, mlp.net.{0,1,4}.*, adaLN_modulation.1.*. Without
/// to_out if there is one head as wide as the block.
class FORESIGHT_API AdaLnBlock : public torch::nn::Module {
 public:
  explicit AdaLnBlock(const AdaLnBlockSizes& sizes);

  /// x [N,L,width] or, with several tokens a frame, [N,L,P,width]: the newest L frames; modulation
  /// [N,L,6,width]: shift, 1+scale, gate of attention, then of feed-forward, for all tokens of a
  /// frame. `past`, `present` and `outputs` as in FrameAttention::forward().
  Tensor forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                 KeyValues* present, Outputs outputs, Mode mode) const;

  /// The layer that maps SiLU(condition) to the six modulation vectors [6*width] (shift, scale,
  /// gate, twice).
  const torch::nn::Linear& modulation_layer() const { return modulation_; }
  const AdaLnBlockSizes& sizes() const { return sizes_; }
  const FrameAttention& attention() const { return *attention_; }
  const NormedFeedForward& feed_forward() const { return *feed_forward_; }
  /// From now on forward() computes with packed weights (nn/packed_adaln.hpp): in fixed16 it only
  /// infers; float32 stands in where packed_computes(), and a block without such a form stays as it
  /// is.
  void use_packed(const Packing& packing);
  /// From now on inference in bfloat16 multiplies by prepacked weights.
  void use_prepacked();
  /// Frees what both laid out: forward() computes with the block's own weights.
  void drop_packed();
  /// torch's default initial weights; zero modulation, so that the block starts as the identity.
  void initialise(Noise& noise);

 private:
  AdaLnBlockSizes sizes_;
  std::shared_ptr<FrameAttention> attention_;
  std::shared_ptr<NormedFeedForward> feed_forward_;
  torch::nn::Linear modulation_{nullptr};
  std::shared_ptr<const PackedAdaLn> packed_;
};

/// The modulation layers of all blocks as one, the 1 of (1 + scale) in the bias.
struct ModulationWeights {
  Tensor weight;  ///< [depth*6*width, width]
  Tensor bias;    ///< [depth*6*width]
};
FORESIGHT_API ModulationWeights
modulation_weights(const std::vector<std::shared_ptr<AdaLnBlock>>& blocks);

/// The modulations of all blocks from SiLU(condition) [...,width] in one product: [...,depth,6,
/// width], ready for AdaLnBlock::forward().
FORESIGHT_API Tensor modulations(const std::vector<std::shared_ptr<AdaLnBlock>>& blocks,
                                 const Tensor& condition);

}  // namespace foresight::nn
