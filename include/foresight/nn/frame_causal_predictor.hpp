// SPDX-License-Identifier: Apache-2.0
// The dynamics network of V-JEPA 2-AC (arXiv 2506.09985, section 3): a transformer over frames of
// patch tokens, each preceded by tokens of the action and the end-effector state, in which a token
// sees all tokens of its own and of earlier frames.
#pragma once

#include <memory>
#include <vector>

#include "foresight/nn/video_vit.hpp"

namespace foresight::nn {

/// Defaults are V-JEPA 2-AC's.
struct FORESIGHT_API FrameCausalPredictorOptions {
  int64_t width = 1024;      ///< token width inside
  int64_t depth = 24;        ///< blocks
  int64_t heads = 16;        ///< attention heads
  int64_t mlp_width = 4096;  ///< hidden width of the feed-forward part
  int64_t action_width = 7;  ///< of an action and of a state; camera extrinsics have one less
  bool extrinsics = false;   ///< a third token per frame: where the camera is
  PositionKind positions = PositionKind::rope;  ///< rope or none
  RopeConvention rope = RopeConvention::tiled;  ///< part of the weights; released ones: tiled
  FeedForward feed_forward = FeedForward::gelu;
  bool qkv_bias = true;        ///< queries, keys and values have a bias
  double norm_epsilon = 1e-6;  ///< LayerNorm epsilon

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("width", self.width, "token width inside");
    visit("depth", self.depth, "transformer blocks");
    visit("heads", self.heads, "attention heads");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("action_width", self.action_width, "of an action and of a state");
    visit("extrinsics", self.extrinsics, "a third token per frame: where the camera is");
    visit("positions", self.positions, "rope or none");
    visit("rope", self.rope, "tiled (released weights) or interleaved");
    visit("feed_forward", self.feed_forward, "gelu or swiglu");
    visit("qkv_bias", self.qkv_bias, "queries, keys and values have a bias");
    visit("norm_epsilon", self.norm_epsilon, "LayerNorm epsilon");
  }
  std::vector<std::string> validate() const;

  /// Tokens before the patches of a frame: action, state, (extrinsics).
  int64_t condition_tokens() const { return extrinsics ? 3 : 2; }
};

/// F consecutive frames of N sequences. The action of a frame is the one that leaves it. Tokens are
/// of the network's type; the others may be wider.
struct FrameSequence {
  Tensor tokens;      ///< [N,F,P,D]
  Tensor actions;     ///< [N,F,A]
  Tensor states;      ///< [N,F,A]
  Tensor extrinsics;  ///< [N,F,A-1]; undefined for a network without

  int64_t length() const { return tokens.size(1); }
};

/// Keys and values of the frames so far, one entry per block.
using FrameMemory = std::vector<KeyValues>;

/// State-dict keys: predictor_embed.*, action_encoder.*, state_encoder.*, extrinsics_encoder.*,
/// predictor_blocks.{i}.*, predictor_norm.*, predictor_proj.*, those of the original checkpoints,
/// which store the extrinsics encoder even where it is not used.
class FORESIGHT_API FrameCausalPredictor : public torch::nn::Module {
 public:
  /// `grid`: rows and columns of the frames it will see most; patches of other grids are placed on
  /// its scale. Linear layers of the blocks hold no numbers until initialise() or a file fills them
  /// (nn/unfilled_linear.hpp). Throws Error(invalid_option).
  FrameCausalPredictor(const FrameCausalPredictorOptions& options, int64_t token_width,
                       const TokenGrid& grid);

  /// Tokens of the next frame after each, [N,F,P,D]: output f from frames 0..f only.
  Tensor forward(const FrameSequence& frames) const;

  /// The residual stream: all tokens [N,F*L,width] as the first block takes them, then every
  /// block's output; depth+1 tensors.
  std::vector<Tensor> hidden_states(const FrameSequence& frames) const;

  /// Tokens of the frame after the last, [N,P,D]. `frames` follow `first` earlier ones, of which
  /// `shared` (may be null; rows [B], each for N/B sequences) and then `memory` (may be null) hold
  /// keys and values; the new ones are added to `memory`. Equal to the last row of forward() over
  /// all of them: positions are counted from the sequence's start and no earlier frame sees a later
  /// one. Not exact if the start moves.
  Tensor next(const FrameSequence& frames, int64_t first, const FrameMemory* shared,
              FrameMemory* memory) const;

  /// Keys and values of frames at the start of a sequence.
  FrameMemory remember(const FrameSequence& frames) const;

  /// As VideoVit::initialise().
  void initialise(Noise& noise);
  const FrameCausalPredictorOptions& options() const noexcept { return options_; }
  const TokenGrid& grid() const noexcept { return grid_; }

 private:
  Tensor assemble(const FrameSequence& frames) const;
  RopeTable positions(int64_t first, int64_t count, const at::TensorOptions& options) const;
  struct Past {
    int64_t frames = 0;
    const FrameMemory* shared = nullptr;
    FrameMemory* memory = nullptr;
  };
  Tensor run(const FrameSequence& frames, const Past& past, int64_t wanted_frames,
             std::vector<Tensor>* trace) const;
  Tensor finish(const Tensor& x) const;

  FrameCausalPredictorOptions options_;
  int64_t token_width_;
  TokenGrid grid_;
  torch::nn::Linear embed_{nullptr}, action_{nullptr}, state_{nullptr}, extrinsics_{nullptr};
  std::vector<std::shared_ptr<VideoBlock>> blocks_;
  torch::nn::LayerNorm norm_{nullptr};
  torch::nn::Linear proj_{nullptr};
};

/// Which token of `earlier + frames` frames each token of the last `frames` ones may attend to:
/// bool [frames*L, (earlier+frames)*L], L tokens a frame.
FORESIGHT_API Tensor frame_causal_mask(int64_t frames, int64_t earlier, int64_t tokens_per_frame,
                                       const at::TensorOptions& options);

/// Rotary table of `count` frames from number `first` on: `conditions` tokens turned by time alone,
/// then the patches. Rows and columns are scaled by `scale_rows` and `scale_columns`.
FORESIGHT_API RopeTable frame_rope(int64_t first, int64_t count, const TokenGrid& grid,
                                   int64_t conditions, int64_t head_width, double scale_rows,
                                   double scale_columns, RopeConvention convention,
                                   const at::TensorOptions& options);

}  // namespace foresight::nn
