// SPDX-License-Identifier: Apache-2.0
// One block of a causal transformer that is conditioned by AdaLN-zero (Peebles and Xie, "Scalable
// diffusion models with transformers", ICCV 2023), in LeWM's form: each half applies two LayerNorms
// in a row, a plain one that is modulated by the condition, then an affine one that belongs to the
// attention or feed-forward part.
#pragma once

#include <torch/nn/module.h>

#include "foresight/core/noise.hpp"
#include "foresight/nn/module.hpp"

namespace foresight::nn {

/// Keys and values of the tokens so far, [N, heads, m, head_width] each.
struct KeyValues {
  Tensor keys, values;
};

/// Which tokens' outputs a block computes.
enum class Outputs {
  all,
  last,  ///< only the last token's: queries, output projection and feed-forward of the others are
         ///< skipped
  none,  ///< only keys and values
};

struct AdaLnBlockSizes {
  int64_t width = 192;
  int64_t heads = 16;
  int64_t head_width = 64;
  int64_t mlp_width = 2048;
  double dropout = 0.0;
};

/// State-dict keys: attn.{norm,to_qkv,to_out.0}.*, mlp.net.{0,1,4}.*, adaLN_modulation.1.*. Without
/// to_out if there is one head as wide as the block.
class FORESIGHT_API AdaLnBlock : public torch::nn::Module {
 public:
  explicit AdaLnBlock(const AdaLnBlockSizes& sizes);

  /// x [N,n,width]: the newest n tokens; modulation [N,n,6,width]: shift, 1+scale, gate of
  /// attention, then of feed-forward. `past` (may be null) holds earlier tokens; `present` (may be
  /// null) receives past and new ones. Result: [N,n,width], [N,1,width] or undefined, by `outputs`.
  Tensor forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                 KeyValues* present, Outputs outputs, Mode mode) const;

  /// The layer that maps SiLU(condition) to the six modulation vectors [6*width] (shift, scale,
  /// gate, twice).
  const torch::nn::Linear& modulation_layer() const { return modulation_; }
  /// torch's default initial weights; zero modulation, so that the block starts as the identity.
  void initialise(Noise& noise);

 private:
  Tensor attend(const Tensor& u, const KeyValues* past, KeyValues* present, Outputs outputs,
                Mode mode) const;
  Tensor feed_forward(const Tensor& u, Mode mode) const;

  AdaLnBlockSizes sizes_;
  torch::nn::LayerNorm attention_norm_{nullptr}, mlp_norm_{nullptr};
  torch::nn::Linear qkv_{nullptr}, out_{nullptr}, mlp_in_{nullptr}, mlp_out_{nullptr};
  torch::nn::Linear modulation_{nullptr};
};

}  // namespace foresight::nn
