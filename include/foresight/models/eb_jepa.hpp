// SPDX-License-Identifier: Apache-2.0
// EB-JEPA with actions (arXiv 2602.03604): a small convolutional encoder and a recurrent step in
// its latent space, trained end to end without stop-gradient or target network. One unroll serves
// training and planning.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/eb_jepa_options.hpp"
#include "foresight/nn/gru_predictor.hpp"
#include "foresight/nn/mlp.hpp"
#include "foresight/nn/projector.hpp"

namespace foresight::models {

/// State field: "latent" [B,1,D]. An observation replaces it; there is no other memory.
///
/// Pictures are bytes in planes, [B,C,S,S]; in Two Rooms the planes are the dot and the walls.
///
/// The WorldModel functions always infer and change nothing, so that one model serves several
/// threads; the loss functions follow the training flag (statistics of the projector). They record
/// gradients as the caller's grad mode says.
///
/// State-dict keys: encoder.* (nn::ImpalaEncoder), predictor.rnn.* (nn::GruPredictor),
/// regularizer.idm_loss_fn.idm.model.{0,2,4}.*, regularizer.projector.net.*: upstream's, but for
/// the norm that encoder and predictor share, which stands here once, as encoder.final_ln.*
/// (models/eb_jepa_checkpoint.hpp).
class FORESIGHT_API EbJepa : public WorldModel, public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit EbJepa(const EbJepaOptions& options, std::optional<std::uint64_t> seed = 0);

  const ModelSpec& spec() const override { return spec_; }
  const EbJepaOptions& options() const noexcept { return options_; }

  State initial(int64_t batch) const override;
  /// Needs "pixels", bytes [B,C,S,S].
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  /// observe() of pictures that are normalised already, [B,C,S,S], or of latents [B,1,D].
  State observe_images(const Tensor& images) const;
  State observe_latent(const Tensor& latent) const;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;
  /// Equal to looped_rollout() up to rounding; the actions' part of all steps is one product.
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override;
  Tensor encode(const Observation& observation, Noise& noise) const override;

  /// Bytes [...,C,S,S] -> encoder input [...,C,S,S]: every channel of every picture is scaled to
  /// [0, 1] by its own minimum and maximum, then normalised by image_mean and image_std.
  Tensor preprocess(const Tensor& pixels) const;
  /// Encoder input [...,C,S,S] -> latents [...,D].
  Tensor encode_images(const Tensor& images) const;
  /// Latents [N,L,D] and the blocks that leave them [N,L,A] -> the latent that follows each.
  Tensor predict(const Tensor& latents, const Tensor& blocks) const;
  /// From one latent [N,D] through blocks [N,H,A]: the latents after each block [N,H,D].
  Tensor unroll(const Tensor& latent, const Tensor& blocks) const;
  /// Latents [B,T,D] -> the blocks between them [B,T-1,A]. Error(unsupported) without an
  /// inverse-dynamics head.
  Tensor infer_actions(const Tensor& latents) const;

  /// Loss terms of clips: bytes [B,T,C,S,S] and blocks [B,T-1,A], block t between frames t and
  /// t+1; T > predicted_steps. Terms: "prediction" (mean over the steps imagined from the first
  /// frame; targets carry gradient) and those of losses::latent_regulariser() over all frames.
  losses::Terms loss(const Tensor& pixels, const Tensor& blocks) const;
  /// The same from encoder input [B,T,C,S,S].
  losses::Terms loss_of_images(const Tensor& images, const Tensor& blocks) const;
  /// The same from latents [B,T,D].
  losses::Terms loss_of_latents(const Tensor& latents, const Tensor& blocks) const;

  /// The groups in which EB-JEPA clips gradients, one after the other: encoder, then predictor. The
  /// layer norm that they share is in both, and so scaled twice; heads and projector are in
  /// neither.
  std::vector<std::vector<Tensor>> clipping_groups() const;

  const nn::ImpalaEncoder& encoder() const noexcept { return *encoder_; }
  const nn::GruPredictor& predictor() const noexcept { return *predictor_; }

  /// An independent model with the same weights, flags, dtype and device.
  std::shared_ptr<EbJepa> copy() const;
  std::shared_ptr<torch::nn::Module> clone(
      const std::optional<torch::Device>& device = std::nullopt) const override;

 private:
  at::TensorOptions tensor_options() const;
  Tensor checked_actions(const Tensor& actions, at::IntArrayRef batch, const Tensor& latent) const;

  EbJepaOptions options_;
  ModelSpec spec_;
  std::shared_ptr<nn::ImpalaEncoder> encoder_;
  std::shared_ptr<nn::GruPredictor> predictor_;
  std::shared_ptr<nn::Mlp> inverse_dynamics_;
  std::shared_ptr<nn::Projector> projector_;
};

}  // namespace foresight::models
