// SPDX-License-Identifier: Apache-2.0
// The narrow transformer that V-JEPA trains its encoder with: from the tokens that are visible it
// predicts the encoder's tokens at places that are not (arXiv 2506.09985).
#pragma once

#include <memory>
#include <vector>

#include "foresight/nn/video_vit.hpp"

namespace foresight::nn {

/// Which grid turns a token id into rows and columns for the rotary positions.
enum class PredictorGrid {
  square,  ///< as many columns as the clip has rows: what the reference does, and released weights
           ///< were trained so. Differs from `actual` only for pictures that are not square
  actual,
};

/// Defaults are the released predictor of ViT-L.
struct FORESIGHT_API MaskedVideoPredictorOptions {
  int64_t width = 384;       ///< token width inside
  int64_t depth = 12;        ///< blocks
  int64_t heads = 12;        ///< attention heads
  int64_t mlp_width = 1536;  ///< hidden width of the feed-forward part
  int64_t mask_tokens = 10;  ///< learned stand-ins for hidden tokens
  PositionKind positions = PositionKind::rope;
  RopeConvention rope = RopeConvention::tiled;
  PredictorGrid grid = PredictorGrid::square;
  FeedForward feed_forward = FeedForward::gelu;
  bool qkv_bias = true;        ///< queries, keys and values have a bias
  double norm_epsilon = 1e-6;  ///< LayerNorm epsilon

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("width", self.width, "token width inside");
    visit("depth", self.depth, "transformer blocks");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("mask_tokens", self.mask_tokens, "learned stand-ins for hidden tokens");
    visit("positions", self.positions, "rope, sincos or sincos_uniform");
    visit("rope", self.rope, "tiled (released weights) or interleaved");
    visit("grid", self.grid, "rows and columns of an id: square (as released) or actual");
    visit("feed_forward", self.feed_forward, "gelu or swiglu");
    visit("qkv_bias", self.qkv_bias, "queries, keys and values have a bias");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
  }
  std::vector<std::string> validate() const;
};

/// State-dict keys: predictor_embed.*, mask_tokens.{k}, (predictor_pos_embed),
/// predictor_blocks.{i}.*, predictor_norm.*, predictor_proj.*, those of the original checkpoints.
class FORESIGHT_API MaskedVideoPredictor : public torch::nn::Module {
 public:
  /// `token_width`: D of the encoder; `grid`: its native grid, from which the table of additive
  /// positions is made. Linear layers of the blocks hold no numbers until initialise() or a file
  /// fills them (nn/unfilled_linear.hpp). Throws Error(invalid_option).
  MaskedVideoPredictor(const MaskedVideoPredictorOptions& options, int64_t token_width,
                       const TokenGrid& grid);

  /// context [B,c,D] at context_ids [B,c] -> predictions [B,m,D] at target_ids [B,m], in their
  /// order. The hidden tokens start as mask token `mask_index` mod their count.
  Tensor forward(const Tensor& context, const Tensor& context_ids, const Tensor& target_ids,
                 int64_t mask_index) const;
  /// Outputs at context and target places alike, [B,c+m,D], by ascending id.
  Tensor all_tokens(const Tensor& context, const Tensor& context_ids, const Tensor& target_ids,
                    int64_t mask_index) const;

  /// As VideoVit::initialise(); the mask tokens start at zero.
  void initialise(Noise& noise);
  const MaskedVideoPredictorOptions& options() const noexcept { return options_; }

 private:
  Tensor run(const Tensor& context, const Tensor& context_ids, const Tensor& target_ids,
             int64_t mask_index) const;

  MaskedVideoPredictorOptions options_;
  int64_t token_width_;
  TokenGrid grid_;
  torch::nn::Linear embed_{nullptr}, proj_{nullptr};
  std::vector<Tensor> mask_tokens_;
  Tensor positions_;
  std::vector<std::shared_ptr<VideoBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
};

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::PredictorGrid> {
  using E = foresight::nn::PredictorGrid;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"square", E::square}, {"actual", E::actual}}};
};
