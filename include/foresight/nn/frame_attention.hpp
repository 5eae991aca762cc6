// SPDX-License-Identifier: Apache-2.0
// The two halves of a pre-norm block over frames of tokens, as DINO-WM (arXiv 2411.04983) and LeWM
// (arXiv 2603.19312) have them: attention in which a token sees its own and all earlier frames, and
// a feed-forward part, each with a LayerNorm (eps 1e-5) of its own inside.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "foresight/nn/key_values.hpp"
#include "foresight/nn/module.hpp"
#include "foresight/nn/prepacked_linear.hpp"

namespace foresight::nn {

/// Which frames' outputs a block computes.
enum class Outputs {
  all,
  last,  ///< only the last frame's: queries, output projection and feed-forward of the others are
         ///< skipped
  none,  ///< only keys and values
};

struct FrameAttentionSizes {
  int64_t width = 192;
  int64_t heads = 16;
  int64_t head_width = 64;
  double dropout = 0.0;  ///< of attention probabilities and of the output
};

/// State-dict keys: norm.*, to_qkv.weight, to_out.0.*. Without to_out if there is one head as wide
/// as the block.
class FORESIGHT_API FrameAttention : public torch::nn::Module {
 public:
  explicit FrameAttention(const FrameAttentionSizes& sizes);

  /// x [N,L,width] (one token a frame) or [N,L,P,width]: the newest L frames. `past` (may be null)
  /// holds earlier frames: N rows, or B rows that N/B rows share each. `present` (may be null)
  /// receives past and new ones. Result: as x, with one frame for Outputs::last, undefined for
  /// none.
  Tensor forward(const Tensor& x, const KeyValues* past, KeyValues* present, Outputs outputs,
                 Mode mode) const;

  /// From now on inference in bfloat16 multiplies by prepacked weights (nn/prepacked_linear.hpp);
  /// weights of another type or device, or another processor: nothing.
  void use_prepacked();
  /// Frees them.
  void drop_packed() { prepacked_ = nullptr; }

  const torch::nn::LayerNorm& norm() const { return norm_; }
  const torch::nn::Linear& qkv() const { return qkv_; }
  /// Empty where there is no to_out.
  const torch::nn::Linear& output() const { return out_; }

 private:
  Tensor attend(const Tensor& query, const Tensor& keys, const Tensor& values, int64_t tokens,
                double dropout) const;

  struct Prepacked {
    PrepackedLinear query, keys_and_values;
    std::optional<PrepackedLinear> out;
    Frozen frozen;
  };

  FrameAttentionSizes sizes_;
  std::shared_ptr<const Prepacked> prepacked_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear qkv_{nullptr}, out_{nullptr};
};

/// Linear(GELU(Linear(LayerNorm))). State-dict keys: net.{0,1,4}.*.
class FORESIGHT_API NormedFeedForward : public torch::nn::Module {
 public:
  NormedFeedForward(int64_t width, int64_t hidden, double dropout);

  /// [..., width] -> [..., width].
  Tensor forward(const Tensor& x, Mode mode) const;
  /// As FrameAttention::use_prepacked().
  void use_prepacked();
  /// As FrameAttention::drop_packed().
  void drop_packed() { prepacked_ = nullptr; }

  const torch::nn::LayerNorm& norm() const { return norm_; }
  const torch::nn::Linear& hidden() const { return in_; }
  const torch::nn::Linear& output() const { return out_; }

 private:
  struct Prepacked {
    PrepackedLinear in, out;
    Frozen frozen;
  };

  double dropout_;
  std::shared_ptr<const Prepacked> prepacked_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear in_{nullptr}, out_{nullptr};
};

}  // namespace foresight::nn
