// SPDX-License-Identifier: Apache-2.0
// A joint-embedding predictive world model: an encoder and an action-conditioned latent predictor,
// trained together from recorded video without decoding pixels. With the defaults it is LeWM (arXiv
// 2603.19312); other options give PLDM's loss, a convolutional encoder, or a predictor that is
// cheap enough for a CPU.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "foresight/core/world_model.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/jepa_options.hpp"
#include "foresight/nn/encoder.hpp"
#include "foresight/nn/predictor.hpp"

namespace foresight::models {

/// State fields: "latent" [B,1,D]; with history W > 1 also "past_latents" [B,W-1,D] and
/// "past_blocks" [B,W-1,A], oldest first, of which the last filled()-1 count. filled() is the
/// number of frames in the window, at most W.
///
/// The WorldModel functions always infer (running statistics, no dropout), whatever the training
/// flag says, and change nothing, so one model serves several threads. Only the loss functions
/// follow the training flag. They record gradients as the caller's grad mode says: use
/// at::NoGradGuard around planning that needs none.
///
/// State-dict keys: encoder.*, projector.*, action_encoder.*, predictor.*, pred_proj.*, idm.*; for
/// lewm() exactly those of the published checkpoints.
class FORESIGHT_API Jepa : public WorldModel, public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit Jepa(const JepaOptions& options, std::optional<std::uint64_t> seed = 0);

  const ModelSpec& spec() const override { return spec_; }
  const JepaOptions& options() const noexcept { return options_; }

  State initial(int64_t batch) const override;
  /// Needs the field "pixels": RGB bytes [B,H,W,3] of any size that the encoder accepts after
  /// resizing.
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  /// observe() for a frame whose latent [B,1,D] is known already.
  State observe_latent(const State& previous, const Tensor& last_action,
                       const Tensor& latent) const;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  /// Equal to looped_rollout() up to rounding, without work that cannot change the result.
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;
  Tensor encode(const Observation& observation, Noise& noise) const override;

  /// RGB bytes [B,H,W,3] -> latents [B,1,D]; clips [B,T,H,W,3] -> [B,T,D].
  Tensor encode_pixels(const Tensor& pixels) const;
  /// RGB bytes [N,H,W,3] -> encoder input [N,3,h,w].
  Tensor preprocess(const Tensor& pixels) const;
  /// Encoder input [...,3,h,w] -> latents [...,D].
  Tensor encode_images(const Tensor& images, nn::Mode mode) const;
  /// Normalised blocks [...,A] -> action embeddings [...,C].
  Tensor embed_actions(const Tensor& blocks) const;
  /// Latents [N,L,D] and the blocks that leave them [N,L,A] -> the latents that follow each
  /// [N,L,D].
  Tensor predict(const Tensor& latents, const Tensor& blocks, nn::Mode mode) const;
  /// Latents [B,T,D] -> the blocks between them [B,T-1,A]. Error(unsupported) without an
  /// inverse-dynamics head.
  Tensor infer_actions(const Tensor& latents) const;

  /// Loss terms of clips: RGB bytes [B,T,H,W,3] and normalised blocks [B,T-1,A], block t between
  /// frames t and t+1; T > predicted_steps. sigreg draws its directions from `noise`. In training
  /// mode this updates batch statistics.
  losses::Terms loss(const Tensor& pixels, const Tensor& blocks, Noise& noise);
  /// The same from encoder input [B,T,3,h,w].
  losses::Terms loss_of_images(const Tensor& images, const Tensor& blocks, Noise& noise);
  /// The same from latents [B,T,D].
  losses::Terms loss_of_latents(const Tensor& latents, const Tensor& blocks, Noise& noise);

  /// An independent model with the same weights, flags, dtype and device; packed if this is.
  std::shared_ptr<Jepa> copy() const;
  /// Lays out weights for this processor, once more in memory: from now on inference without
  /// gradients takes less time and gives the same up to rounding. In float32, where there are AVX2
  /// and FMA, those of the AdaLN predictor, a ViT encoder and heads without layer norm
  /// (nn/packed_linear.hpp); in bfloat16, where the processor multiplies it, those of the AdaLN
  /// predictor (nn/prepacked_linear.hpp). While weights differ from what was packed, in other types
  /// and elsewhere than on the CPU, all is as before. Models that are read from bundles or change
  /// their precision are packed already where that pays (models/world_models.hpp,
  /// nn/packing_pays.hpp); after training, call it again. What was laid out before is freed.
  void pack();
  /// Frees what pack() laid out, as of weights that have another type now. Not of a fixed-point
  /// copy, which computes with nothing else.
  void unpack();
  /// An independent float32 model on the CPU, for inference only, whose linear layers compute in
  /// fixed point (nn/packed_linear.hpp): the AdaLN predictor, a ViT encoder and heads without
  /// layer norm; the rest stays float32. Its weights are packed once: a later change of them is
  /// refused at the next use, as are training and gradients. Throws Error(unsupported) for a
  /// predictor without such a form.
  std::shared_ptr<Jepa> fixed_point_copy(nn::PackedKernel kernel = nn::PackedKernel::fastest) const;
  /// Whether this is such a copy.
  bool in_fixed_point() const noexcept { return fixed_point_.has_value(); }
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

 private:
  at::TensorOptions tensor_options() const;
  Tensor head(const Tensor& predicted, nn::Mode mode) const;
  Tensor checked_actions(const Tensor& actions, at::IntArrayRef batch, const Tensor& latent) const;
  Tensor one_step_loss(const Tensor& latents, const Tensor& conditions) const;
  Tensor rollout_loss(const Tensor& latents, const Tensor& conditions) const;

  JepaOptions options_;
  ModelSpec spec_;
  void use_packed(const nn::Packing& packing);

  std::optional<nn::PackedKernel> fixed_point_;
  bool packed_ = false;
  std::shared_ptr<nn::ImageEncoder> encoder_;
  std::shared_ptr<nn::Projection> projector_, pred_proj_, inverse_dynamics_;
  std::shared_ptr<nn::ActionEncoder> action_encoder_;
  std::shared_ptr<nn::LatentPredictor> predictor_;
};

}  // namespace foresight::models
