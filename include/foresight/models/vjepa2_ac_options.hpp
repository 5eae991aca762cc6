// SPDX-License-Identifier: Apache-2.0
// Everything that defines a V-JEPA 2-AC: its parts, sizes, memory of the past and loss.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/models/pose.hpp"
#include "foresight/nn/frame_causal_predictor.hpp"
#include "foresight/nn/video_vit.hpp"

namespace foresight::models {

/// Which prediction the rollout term of the loss goes on from.
enum class RolloutStart {
  first_prediction,   ///< the prediction of frame 1, as it should be
  second_prediction,  ///< that of frame 2 in its place: the first public training did so by
                      ///< mistake, and the public checkpoint comes from it
};

/// Pose changes in metres, radians and opening, as V-JEPA 2-AC's planner bounds them: 7.5 cm a step
/// along each axis, opening by 0.75.
FORESIGHT_API ActionSpace gripper_actions(double max_step = 0.075);

/// ImageOptions.max_aspect of the published training: it asks for a random crop larger than the
/// picture, so that every frame falls back to a centre of the widest shape allowed, which is then
/// stretched to a square.
inline constexpr double kVJepa2AcAspect = 1.35;

/// Weights of the loss terms, each under the name that losses::Terms reports. Both 1: the paper
/// adds the two as they are (arXiv 2506.09985, equation 4).
struct FORESIGHT_API VJepa2AcLossOptions {
  double teacher_forced = 1.0;  ///< one step ahead, every frame of the clip from true ones
  double rollout = 1.0;         ///< VJepa2AcOptions.auto_steps ahead, predictions fed back

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("teacher_forced", self.teacher_forced, "weight: one step ahead, from true frames");
    visit("rollout", self.rollout, "weight: auto_steps steps ahead, predictions fed back");
  }
  std::vector<std::string> validate() const;
};

/// Defaults are the released model: ViT-g at 256 pixels, 305 million predictor weights.
struct FORESIGHT_API VJepa2AcOptions {
  ImageOptions image = {.size = 256, .resize = ResizeRule::stretch};
  nn::VideoVitOptions encoder = nn::VideoVitOptions::giant();
  nn::FrameCausalPredictorOptions predictor;
  bool normalise_latents = true;  ///< LayerNorm without weights on encoded and predicted tokens
  int64_t history = 1;  ///< observed frames that a prediction starts from; robots upstream: 1
  int64_t window = 8;   ///< frames that the predictor sees at most, imagined ones included
  int64_t rollout_bytes = int64_t{2} << 30;  ///< memory for candidates imagined at once; 0: any
  ActionSpace action = gripper_actions();
  int64_t auto_steps = 2;      ///< steps of the loss's rollout term
  double loss_exponent = 1.0;  ///< of the absolute differences
  RolloutStart rollout_start = RolloutStart::first_prediction;
  VJepa2AcLossOptions loss;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "the frozen video transformer");
    visit("predictor", self.predictor, "the dynamics network");
    visit("normalise_latents", self.normalise_latents,
          "LayerNorm without weights on encoded and predicted tokens");
    visit("history", self.history, "observed frames that a prediction starts from");
    visit("window", self.window, "frames that the predictor sees at most");
    visit("rollout_bytes", self.rollout_bytes, "memory for candidates imagined at once; 0: any");
    visit("action", self.action, "limits of pose changes");
    visit("auto_steps", self.auto_steps, "steps of the loss's rollout term");
    visit("loss_exponent", self.loss_exponent, "of the absolute differences");
    visit("rollout_start", self.rollout_start, "first_prediction or second_prediction");
    visit("loss", self.loss, "weights of the loss terms");
  }
  std::vector<std::string> validate() const;
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::RolloutStart> {
  using E = foresight::models::RolloutStart;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"first_prediction", E::first_prediction}, {"second_prediction", E::second_prediction}}};
};
