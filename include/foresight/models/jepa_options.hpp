// SPDX-License-Identifier: Apache-2.0
// Everything that defines a Jepa: its parts, sizes, statistics and loss.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/vicreg.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/action_encoder.hpp"
#include "foresight/nn/adaln_predictor.hpp"
#include "foresight/nn/cnn.hpp"
#include "foresight/nn/mlp.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

enum class EncoderKind { vit, cnn };
enum class PredictorKind { adaln, mlp };

/// The action space of Push-T and TwoRoom as LeWM sees them, without limits and statistics.
inline ActionSpace two_dimensional_blocks_of_five() {
  ActionSpace space;
  space.dim = 2;
  space.block = 5;
  return space;
}

/// Weights of the loss terms, each under the name that losses::Terms reports. A term of weight 0 is
/// not computed. Defaults are LeWM's; JepaOptions::pldm() has PLDM's.
struct FORESIGHT_API JepaLossOptions {
  double prediction = 1.0;  ///< one step ahead, every frame of the window; targets carry gradient
  double rollout = 0.0;     ///< 2..predicted_steps steps ahead, predictions fed back
  double sigreg = 0.09;     ///< anti-collapse; LeWM: any weight in [0.01, 0.2] works on Push-T
  double std = 0.0;         ///< anti-collapse: deviation over the batch (PLDM)
  double std_t = 0.0;       ///< the same over time
  double cov = 0.0;         ///< anti-collapse: covariance over the batch (PLDM)
  double cov_t = 0.0;       ///< the same over time
  double temporal = 0.0;    ///< consecutive latents are close (PLDM)
  double inverse_dynamics = 0.0;  ///< the action can be read from two latents (PLDM)
  double straightening = 0.0;     ///< consecutive velocities are parallel
  losses::Distance distance = losses::Distance::l2;    ///< of prediction and rollout
  double rollout_discount = 1.0;                       ///< weight of step k is discount^(k-2)
  losses::SigRegOptions sigreg_options;                ///< projections and knots
  double variance_epsilon = losses::kVarianceEpsilon;  ///< under the root of std and std_t

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("prediction", self.prediction, "weight: one step ahead, every frame of the window");
    visit("rollout", self.rollout, "weight: 2..predicted_steps steps ahead");
    visit("sigreg", self.sigreg, "weight: Gaussian regulariser against collapse");
    visit("std", self.std, "weight: deviation over the batch");
    visit("std_t", self.std_t, "weight: deviation over time");
    visit("cov", self.cov, "weight: covariance over the batch");
    visit("cov_t", self.cov_t, "weight: covariance over time");
    visit("temporal", self.temporal, "weight: consecutive latents are close");
    visit("inverse_dynamics", self.inverse_dynamics, "weight: actions are readable from latents");
    visit("straightening", self.straightening, "weight: consecutive velocities are parallel");
    visit("distance", self.distance, "of prediction and rollout: l2, l1 or smooth_l1");
    visit("rollout_discount", self.rollout_discount, "weight of step k is discount^(k-2)");
    visit("sigreg_options", self.sigreg_options, "projections and knots of sigreg");
    visit("variance_epsilon", self.variance_epsilon, "under the root of std and std_t");
  }
  std::vector<std::string> validate() const;
};

/// Image -> encoder -> projector -> latent [D]; window of latents and action embeddings ->
/// predictor -> pred_proj -> next latent. Defaults are full-size LeWM.
struct FORESIGHT_API JepaOptions {
  ImageOptions image;
  EncoderKind encoder = EncoderKind::vit;
  nn::VitOptions vit;               ///< if encoder = vit
  nn::CnnOptions cnn;               ///< if encoder = cnn
  nn::ProjectionOptions projector;  ///< encoder features to latent
  int64_t latent = 192;             ///< D
  nn::ActionEncoderOptions action_encoder;
  PredictorKind predictor = PredictorKind::adaln;
  nn::AdaLnPredictorOptions adaln;      ///< if predictor = adaln
  nn::MlpOptions mlp;                   ///< if predictor = mlp
  nn::ProjectionOptions pred_proj;      ///< predictor output to latent
  int64_t history = 3;                  ///< W, frames that the predictor looks at
  int64_t predicted_steps = 1;          ///< steps of the rollout loss term
  int64_t inverse_dynamics_hidden = 0;  ///< hidden width of the inverse-dynamics head; 0: none
  ActionSpace action = two_dimensional_blocks_of_five();
  JepaLossOptions loss;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "vit or cnn");
    visit("vit", self.vit, "the ViT encoder");
    visit("cnn", self.cnn, "the convolutional encoder");
    visit("projector", self.projector, "head from encoder features to the latent");
    visit("latent", self.latent, "width of a latent");
    visit("action_encoder", self.action_encoder, "embedding of action blocks");
    visit("predictor", self.predictor, "adaln or mlp");
    visit("adaln", self.adaln, "the transformer predictor");
    visit("mlp", self.mlp, "the residual MLP predictor");
    visit("pred_proj", self.pred_proj, "head from predictor output to the latent");
    visit("history", self.history, "frames that the predictor looks at");
    visit("predicted_steps", self.predicted_steps, "steps of the rollout loss term");
    visit("inverse_dynamics_hidden", self.inverse_dynamics_hidden,
          "hidden width of the inverse-dynamics head; 0: none");
    visit("action", self.action, "dimensions, limits and statistics of actions");
    visit("loss", self.loss, "weights of the loss terms");
  }
  std::vector<std::string> validate() const;

  /// LeWM as published (arXiv 2603.19312): ViT-Tiny/14 at 224 pixels, 18.0 million parameters at A
  /// = 10.
  static JepaOptions lewm();
  /// The same network with PLDM's loss weights (arXiv 2502.14819, as in stable-worldmodel).
  static JepaOptions pldm();
  /// Trains on a laptop's CPU in minutes and plans in milliseconds: 32-pixel pictures, three
  /// convolutions, latent width 16, residual MLP on one frame, four imagined steps in the loss with
  /// variance and covariance terms. Learns from clips of five frames or more.
  static JepaOptions small();
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::EncoderKind> {
  using E = foresight::models::EncoderKind;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"vit", E::vit}, {"cnn", E::cnn}}};
};
template <>
struct foresight::EnumNames<foresight::models::PredictorKind> {
  using E = foresight::models::PredictorKind;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"adaln", E::adaln}, {"mlp", E::mlp}}};
};
