// SPDX-License-Identifier: Apache-2.0
// The video transformer of V-JEPA 2 (arXiv 2506.09985): tubelets of a few frames by a square patch,
// rotary or additive sine-cosine positions, no class token. It encodes whole clips or, for masked
// prediction, only the tokens that are kept.
#pragma once

#include <torch/nn/modules/conv.h>

#include <memory>
#include <vector>

#include "foresight/nn/sincos_positions.hpp"
#include "foresight/nn/video_block.hpp"

namespace foresight::nn {

enum class PositionKind {
  none,            ///< tokens are a set
  rope,            ///< rotary, in attention
  sincos,          ///< added; half of the channels for time, a quarter each for rows and columns
  sincos_uniform,  ///< added; a third of the channels an axis
};

/// Defaults are ViT-L/16 as released (facebook/vjepa2-vitl-fpc64-256).
struct FORESIGHT_API VideoVitOptions {
  int64_t width = 1024;        ///< D, channels of a token
  int64_t depth = 24;          ///< blocks
  int64_t heads = 16;          ///< attention heads; width / heads >= 12 for rotary positions
  int64_t mlp_width = 4096;    ///< hidden width of the feed-forward part
  int64_t patch = 16;          ///< side of a square patch, pixels
  int64_t tubelet = 2;         ///< frames of a token
  int64_t frames = 64;         ///< native clip length; 1: pictures, not clips
  int64_t image_height = 256;  ///< native size, pixels
  int64_t image_width = 256;   ///< native size, pixels
  int64_t channels = 3;        ///< of a picture
  PositionKind positions = PositionKind::rope;
  RopeConvention rope = RopeConvention::tiled;  ///< part of the weights; released ones: tiled
  FeedForward feed_forward = FeedForward::gelu;
  bool qkv_bias = true;        ///< queries, keys and values have a bias
  double norm_epsilon = 1e-6;  ///< LayerNorm epsilon

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("width", self.width, "channels of a token");
    visit("depth", self.depth, "transformer blocks");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("patch", self.patch, "side of a square patch, pixels");
    visit("tubelet", self.tubelet, "frames of a token");
    visit("frames", self.frames, "native clip length; 1: pictures");
    visit("image_height", self.image_height, "native height, pixels");
    visit("image_width", self.image_width, "native width, pixels");
    visit("channels", self.channels, "of a picture");
    visit("positions", self.positions, "none, rope, sincos or sincos_uniform");
    visit("rope", self.rope, "tiled (released weights) or interleaved");
    visit("feed_forward", self.feed_forward, "gelu or swiglu");
    visit("qkv_bias", self.qkv_bias, "queries, keys and values have a bias");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
  }
  std::vector<std::string> validate() const;

  /// Whether the network takes pictures [B,C,h,w] instead of clips.
  bool is_picture() const { return frames == 1; }
  /// Tokens of the native size.
  TokenGrid grid() const;

  /// ViT-L/16, 304 million parameters.
  static VideoVitOptions large() { return {}; }
  /// ViT-H/16, 632 million.
  static VideoVitOptions huge();
  /// ViT-g/16, 1012 million; 256 pixels (the backbone of V-JEPA 2-AC).
  static VideoVitOptions giant();
  /// 64-pixel clips of 8 frames, 0.5 million parameters: trains on a CPU.
  static VideoVitOptions tiny();
};

/// State-dict keys: patch_embed.proj.*, (pos_embed), blocks.{i}.*, norm.*, those of the original
/// checkpoints.
class FORESIGHT_API VideoVit : public torch::nn::Module {
 public:
  /// Linear layers of the blocks hold no numbers until initialise() or a file fills them
  /// (nn/unfilled_linear.hpp). Throws Error(invalid_option).
  explicit VideoVit(const VideoVitOptions& options);

  /// Clips [B,C,T,h,w] (pictures [B,C,h,w] for frames = 1) -> tokens after the last norm [B,n,D].
  /// T is a multiple of the tubelet; pixels beyond the last whole patch are ignored. With `ids`
  /// [M*B,n] (int64), only those tokens are computed, attending to each other alone; row m*B+b
  /// belongs to clip b.
  Tensor forward(const Tensor& clips, const Tensor& ids = {}) const;

  /// The last norm applied to the outputs of the given blocks (counted from 0), in their order.
  std::vector<Tensor> layers(const Tensor& clips, const std::vector<int64_t>& blocks) const;
  /// The residual stream: embed() with positions, then every block's output; depth+1 tensors.
  std::vector<Tensor> hidden_states(const Tensor& clips) const;

  /// Tubelet embeddings [B,N,D], without positions.
  Tensor embed(const Tensor& clips) const;
  /// Tokens that clips of this shape have. Throws Error(invalid_argument) for one that has none.
  TokenGrid grid(const Tensor& clips) const;

  /// N(0, 0.02^2) with residual layers scaled down by depth, as in the reference.
  void initialise(Noise& noise);
  const VideoVitOptions& options() const noexcept { return options_; }

 private:
  struct Input;
  Input prepare(const Tensor& clips, const Tensor& ids) const;

  VideoVitOptions options_;
  torch::nn::Conv3d tubelets_{nullptr};
  torch::nn::Conv2d patches_{nullptr};
  Tensor positions_;
  std::vector<std::shared_ptr<VideoBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
};

/// Rotary table of the tokens `ids` ([n] or [B,n]) of a grid, for heads of `head_width`.
FORESIGHT_API RopeTable grid_rope(const Tensor& ids, const TokenGrid& grid, int64_t head_width,
                                  RopeConvention convention, const at::TensorOptions& options);

/// Rows `ids` [R,n] of tokens [B,N,D], R a multiple of B: [R,n,D].
FORESIGHT_API Tensor gather_tokens(const Tensor& tokens, const Tensor& ids);

/// LayerNorm over channels without weights, eps 1e-5: how V-JEPA's targets and V-JEPA 2-AC's
/// latents are normalised.
FORESIGHT_API Tensor normalise_tokens(const Tensor& tokens);

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::PositionKind> {
  using E = foresight::nn::PositionKind;
  static constexpr std::array<std::pair<std::string_view, E>, 4> names{
      {{"none", E::none},
       {"rope", E::rope},
       {"sincos", E::sincos},
       {"sincos_uniform", E::sincos_uniform}}};
};
