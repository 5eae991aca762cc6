// SPDX-License-Identifier: Apache-2.0
// Attentive pooling: a learned query reads a set of tokens by cross-attention. How V-JEPA's frozen
// features are evaluated and its classification checkpoints classify (arXiv 2506.09985, section 6).
#pragma once

#include <memory>
#include <vector>

#include "foresight/nn/video_block.hpp"

namespace foresight::nn {

/// Defaults are the published probes', as their own code has them.
struct FORESIGHT_API AttentivePoolerOptions {
  int64_t self_attention = 3;  ///< blocks over the tokens before they are read; 0: none
  int64_t heads = 16;          ///< attention heads, of whatever width the tokens are
  int64_t mlp_width = 0;  ///< hidden width of all feed-forward parts; 0: four times the tokens'
  double norm_epsilon = 1e-5;  ///< LayerNorm epsilon; transformers' class has its encoder's, 1e-6

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("self_attention", self.self_attention, "blocks before the reading; 0: none");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width,
          "hidden width of the feed-forward parts; 0: four times the tokens'");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
  }
  std::vector<std::string> validate() const;

  /// The feed-forward parts' hidden width for tokens of `width`.
  int64_t hidden(int64_t width) const { return mlp_width > 0 ? mlp_width : 4 * width; }
};

/// State-dict keys: query_tokens, blocks.{i}.*, cross_attention_block.{norm1,norm2,mlp.fc1,mlp.fc2,
/// xattn.q,xattn.kv}.*, those of the original probes. The cross-attention has no output projection.
class FORESIGHT_API AttentivePooler : public torch::nn::Module {
 public:
  /// Linear layers of the blocks over the tokens hold no numbers until initialise() or a file fills
  /// them (nn/unfilled_linear.hpp). Throws Error(invalid_option).
  AttentivePooler(int64_t width, const AttentivePoolerOptions& options);

  /// Tokens [B,n,D] -> one feature vector [B,D].
  Tensor forward(const Tensor& tokens) const;
  /// N(0, 0.02^2); layers that write into a residual stream scaled down by depth, as in the
  /// reference.
  void initialise(Noise& noise);

 private:
  AttentivePoolerOptions options_;
  int64_t width_;
  Tensor query_;
  std::vector<std::shared_ptr<VideoBlock>> blocks_;
  torch::nn::LayerNorm norm1_{nullptr}, norm2_{nullptr};
  torch::nn::Linear q_{nullptr}, kv_{nullptr}, fc1_{nullptr}, fc2_{nullptr};
};

}  // namespace foresight::nn
