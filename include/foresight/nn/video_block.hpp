// SPDX-License-Identifier: Apache-2.0
// The pre-norm transformer block of V-JEPA 2 (arXiv 2506.09985): fused q, k, v, optional rotary
// positions, GELU or gated feed-forward. The same block makes up the encoder, the masked predictor,
// the action-conditioned predictor and the attentive probe.
#pragma once

#include <torch/nn/module.h>

#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/nn/key_values.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/rope.hpp"

namespace foresight::nn {

enum class FeedForward {
  gelu,    ///< fc2(GELU(fc1 x)), exact GELU
  swiglu,  ///< fc3(SiLU(fc1 x) * fc2 x)
};

struct VideoBlockSizes {
  int64_t width = 1024;  ///< a multiple of heads
  int64_t heads = 16;
  int64_t mlp_width = 4096;
  FeedForward feed_forward = FeedForward::gelu;
  bool qkv_bias = true;
  double norm_epsilon = 1e-6;
};

/// How tokens of a call see each other and what came before.
struct Attention {
  const RopeTable* rope = nullptr;    ///< of the call's tokens; null: no rotation
  Tensor mask;                        ///< bool [n, earlier+n], true = attend; undefined: all
  const KeyValues* shared = nullptr;  ///< earlier tokens common to groups of N/B rows, [B,...]
  const KeyValues* past = nullptr;    ///< earlier tokens after those, [N,...]
  KeyValues* present = nullptr;       ///< receives `past` and the call's own
  int64_t wanted = -1;  ///< compute outputs of the last `wanted` tokens only; -1: of all
};

/// State-dict keys: norm1.*, attn.qkv.*, attn.proj.*, norm2.*, mlp.fc1.*, mlp.fc2.*, (mlp.fc3.*).
class FORESIGHT_API VideoBlock : public torch::nn::Module {
 public:
  /// Linear layers hold no numbers until initialise() or a file fills them: nn/unfilled_linear.hpp.
  explicit VideoBlock(const VideoBlockSizes& sizes);

  /// [N,n,width] -> [N,wanted,width]; undefined for wanted = 0.
  Tensor forward(const Tensor& x, const Attention& attention = {}) const;

  /// The attention part alone, on tokens that are normalised already.
  Tensor attend(const Tensor& u, const Attention& attention) const;

  /// Queries, keys and values of tokens, before rotation: [N,heads,n,head_width] each.
  std::vector<Tensor> query_key_value(const Tensor& u) const;

  /// N(0, 0.02^2) weights, zero biases; the two layers that write into the residual stream divided
  /// by sqrt(2 layer), `layer` counted from 1.
  void initialise(int64_t layer, Noise& noise);

 private:
  Tensor feed_forward(const Tensor& u) const;

  VideoBlockSizes sizes_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear qkv_{nullptr}, proj_{nullptr}, fc1_{nullptr}, fc2_{nullptr}, fc3_{nullptr};
};

/// Width of a SwiGLU layer that has about the parameters of a plain one of width `hidden`:
/// floor(2 hidden / 3) rounded up to a multiple of 8.
inline int64_t balanced_swiglu_width(int64_t hidden) { return (2 * hidden / 3 + 7) / 8 * 8; }

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::FeedForward> {
  using E = foresight::nn::FeedForward;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"gelu", E::gelu}, {"swiglu", E::swiglu}}};
};
