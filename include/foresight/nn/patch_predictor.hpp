// SPDX-License-Identifier: Apache-2.0
// The dynamics network of DINO-WM (arXiv 2411.04983): a transformer over the patch tokens of a few
// frames in which a token sees its own and earlier frames. How actions enter is an option: as
// channels, as a token (both DINO-WM), or by AdaLN (arXiv 2512.24497).
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/nn/adaln_block.hpp"

namespace foresight::nn {

enum class ActionConditioning {
  feature,  ///< the embedding is appended to the channels of every token of the frame
  token,    ///< the embedding is one more token of the frame, as wide as the others
  adaln,    ///< the embedding shifts, scales and gates every block (LeWM's form of AdaLN-zero)
};

/// Defaults are DINO-WM's.
struct FORESIGHT_API PatchPredictorOptions {
  ActionConditioning conditioning = ActionConditioning::feature;
  int64_t depth = 6;         ///< blocks
  int64_t heads = 16;        ///< attention heads
  int64_t head_width = 64;   ///< width of one head
  int64_t mlp_width = 2048;  ///< hidden width of the feed-forward part
  double dropout = 0.1;      ///< training only

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("conditioning", self.conditioning, "how actions enter: feature, token or adaln");
    visit("depth", self.depth, "transformer blocks");
    visit("heads", self.heads, "attention heads");
    visit("head_width", self.head_width, "width of one head");
    visit("mlp_width", self.mlp_width, "hidden width of the feed-forward part");
    visit("dropout", self.dropout, "dropout probability in training");
  }
  std::vector<std::string> validate() const;
};

/// Sizes through which the predictor meets the rest of a model.
struct PatchPredictorSizes {
  int64_t frames = 3;      ///< W, frames that it can look at
  int64_t tokens = 196;    ///< P, tokens of a frame
  int64_t channels = 384;  ///< D, channels of a token
  int64_t condition = 10;  ///< C, width of an action embedding; 0 (feature only): no actions
};

class FORESIGHT_API PatchBlock;

/// In a window of L frames, condition k belongs to the action block that *leaves* frame k, and
/// output k predicts frame k+1 from frames and blocks 0..k only. State-dict keys: pos_embedding,
/// transformer.norm.*, transformer.layers.{i}.0.{norm,to_qkv,to_out.0}.*,
/// transformer.layers.{i}.1.net.{0,1,4}.* (adaln: transformer.layers.{i} as AdaLnBlock's, and
/// transformer.cond_proj.* unless C = D).
class FORESIGHT_API PatchPredictor : public torch::nn::Module {
 public:
  /// Throws Error(invalid_option).
  PatchPredictor(const PatchPredictorOptions& options, const PatchPredictorSizes& sizes);

  /// frames [N,L,P,D], conditions [N,L,C] -> [N,L,P,D], 1 <= L <= W.
  Tensor forward(const Tensor& frames, const Tensor& conditions, Mode mode) const;
  /// The last frame of forward(), [N,P,D], without the work that only other frames need.
  Tensor last(const Tensor& frames, const Tensor& conditions, Mode mode) const;
  /// Imagined frames of all candidates, for inference. context [B,F,P,D]: observed, oldest first;
  /// past [B,F-1,C]: conditions between them; future [B,S,H,C]: candidates. Result [B,S,H,P,D].
  /// Step t looks at the last W of F+t frames. Keys and values are kept while the window grows from
  /// its start; frames that only depend on executed actions run once per problem; the last block
  /// computes the one frame that is read.
  Tensor rollout(const Tensor& context, const Tensor& past, const Tensor& future) const;

  /// Frames and conditions as one input [N,L,P',D'] of the first block, positions not added: the
  /// layout of DINO-WM's latents (with adaln: the frames).
  Tensor join(const Tensor& frames, const Tensor& conditions) const;

  /// torch's default weights, positions from N(0,1), adaln modulations zero.
  void initialise(Noise& noise);
  const PatchPredictorSizes& sizes() const noexcept { return sizes_; }
  const PatchPredictorOptions& options() const noexcept { return options_; }

 private:
  void check(const Tensor& frames, const Tensor& conditions) const;
  Tensor run(const Tensor& frames, const Tensor& conditions, int64_t first_position,
             const std::vector<KeyValues>* past, std::vector<KeyValues>* present, Outputs outputs,
             Mode mode) const;
  struct Rollout;

  PatchPredictorOptions options_;
  PatchPredictorSizes sizes_;
  Tensor positions_;
  torch::nn::Linear condition_{nullptr};
  std::vector<std::shared_ptr<PatchBlock>> plain_;
  std::vector<std::shared_ptr<AdaLnBlock>> adaln_;
  torch::nn::LayerNorm norm_{nullptr};
};

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::ActionConditioning> {
  using E = foresight::nn::ActionConditioning;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"feature", E::feature}, {"token", E::token}, {"adaln", E::adaln}}};
};
