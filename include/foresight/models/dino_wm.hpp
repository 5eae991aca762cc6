// SPDX-License-Identifier: Apache-2.0
// DINO-WM (arXiv 2411.04983): a world model on all patch features of a frozen image encoder. Only
// the predictor and two linear embeddings are trained; goals are pictures, compared patch by patch.
// Options give stable-worldmodel's variant and the action conditionings of arXiv 2512.24497.
#pragma once

#include <torch/nn/module.h>
#include <torch/nn/modules/conv.h>

#include <memory>
#include <optional>

#include "foresight/core/world_model.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/dino_wm_options.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

/// A *frame* is what the predictor sees of one time step but for the action, [P',D']: the patches'
/// features with the embedded proprioception in every patch's channels (feature, adaln) or as one
/// more token (token). P patches, D the backbone's width, E the width of the proprioception's
/// embedding.
///
/// State fields: "latent" [B,P,D], the patches' features; with proprioception "proprio" [B,1,E],
/// its embedding as the goal cost of DINO-WM reads it (first patch, first copy), and "frame"
/// [B,P',D'], of which the first two are views; with history W > 1 "past_frames" [B,W-1,P',D'] and
/// "past_blocks" [B,W-1,A], oldest first, of which the last filled()-1 count. A rollout imagines
/// "latent" and "proprio".
///
/// encode() and the goal "latent" need pixels alone. To weigh proprioception as DINO-WM does, add a
/// second GoalDistance of field "proprio" to a goal from encode_proprio().
///
/// The WorldModel functions always infer and change nothing, so one model serves several threads;
/// the loss follows the training flag (dropout). The backbone is frozen: its parameters do not
/// require gradients and it never records any.
///
/// State-dict keys: encoder.* (nn::Vit), predictor.* (nn::PatchPredictor),
/// {action,proprio}_encoder.patch_embed.*; models/dino_wm_checkpoint.hpp maps published files.
class FORESIGHT_API DinoWm : public WorldModel, public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`, backbone included: load that from a
  /// checkpoint. Without a seed, weights are for a loader to fill. Throws Error(invalid_option).
  explicit DinoWm(const DinoWmOptions& options, std::optional<std::uint64_t> seed = 0);

  const ModelSpec& spec() const override { return spec_; }
  const DinoWmOptions& options() const noexcept { return options_; }

  State initial(int64_t batch) const override;
  /// Needs "pixels", RGB bytes [B,H,W,3], and "proprio", float [B,N], if the model has it.
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  /// observe() for features [B,P,D] that are known already; `proprio` [B,N] raw, undefined if the
  /// model has none.
  State observe_features(const State& previous, const Tensor& last_action, const Tensor& features,
                         const Tensor& proprio) const;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  /// Equal to looped_rollout() up to rounding, without work that cannot change the result. Plan
  /// with a bytes budget: one candidate of the full-size model takes tens of megabytes.
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;
  /// Features [B,P,D] of the pixels; other fields are not looked at.
  Tensor encode(const Observation& observation, Noise& noise) const override;

  /// RGB bytes [N,H,W,3] -> encoder input [N,3,h,w].
  Tensor preprocess(const Tensor& pixels) const;
  /// Encoder input [...,3,h,w] -> features [...,P,D], without gradient.
  Tensor encode_images(const Tensor& images) const;
  /// RGB bytes [...,H,W,3] -> features [...,P,D], without gradient.
  Tensor encode_pixels(const Tensor& pixels) const;
  /// Raw measurements [...,N] -> embeddings [...,E]. Error(unsupported) if the model has none.
  Tensor encode_proprio(const Tensor& proprio) const;
  /// Normalised blocks [...,A] -> conditions [...,C] of the predictor, copies included.
  Tensor embed_actions(const Tensor& blocks) const;

  /// Features [...,P,D] and embeddings [...,E] -> frames [...,P',D'].
  Tensor join(const Tensor& features, const Tensor& proprio_embedding) const;
  /// The parts of frames: features [...,P,D] and the first copy of the embedding [...,1,E]
  /// (undefined if the model has none); views.
  struct Parts {
    Tensor features, proprio;
  };
  Parts separate(const Tensor& frames) const;

  /// Frames [N,L,P',D'] and the blocks that leave them [N,L,A] -> the frames that follow each.
  Tensor predict(const Tensor& frames, const Tensor& blocks, nn::Mode mode) const;

  /// Loss terms of clips: RGB bytes [B,T,H,W,3], raw proprio [B,T,N] (undefined if the model has
  /// none), normalised blocks [B,T-1,A], block t between frames t and t+1. Terms of weight 0 that
  /// are only reported: "visual" and "proprio", the parts of "prediction".
  losses::Terms loss(const Tensor& pixels, const Tensor& proprio, const Tensor& blocks) const;
  /// The same from features [B,T,P,D], which may be computed once for a whole data set.
  losses::Terms loss_of_features(const Tensor& features, const Tensor& proprio,
                                 const Tensor& blocks) const;

  /// The frozen backbone, to load weights into.
  nn::Vit& encoder() noexcept { return *encoder_; }
  const nn::Vit& encoder() const noexcept { return *encoder_; }
  const nn::PatchPredictor& predictor() const noexcept { return *predictor_; }

  /// An independent model with the same weights, flags, dtype and device.
  std::shared_ptr<DinoWm> copy() const;
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

 private:
  at::TensorOptions tensor_options() const;
  bool has_proprio() const { return options_.proprio.dim > 0; }
  State state_of(const Tensor& frame, int64_t batch_dims) const;
  const Tensor& frame_of(const State& state) const;
  Tensor checked_actions(const Tensor& actions, at::IntArrayRef batch, const Tensor& like) const;
  void add_prediction(losses::Terms& terms, const Tensor& frames, const Tensor& blocks) const;
  Tensor rollout_loss(const Tensor& frames, const Tensor& blocks) const;

  DinoWmOptions options_;
  ModelSpec spec_;
  std::shared_ptr<nn::Vit> encoder_;
  std::shared_ptr<nn::PatchPredictor> predictor_;
  torch::nn::Conv1d action_encoder_{nullptr}, proprio_encoder_{nullptr};
};

}  // namespace foresight::models
