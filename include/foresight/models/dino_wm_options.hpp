// SPDX-License-Identifier: Apache-2.0
// Everything that defines a DinoWm: backbone, pictures, proprioception, predictor, loss.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/dinov2.hpp"
#include "foresight/nn/patch_predictor.hpp"

namespace foresight::models {

/// The robot's own measurements, embedded by a linear layer and kept in the latent beside the
/// patches.
struct FORESIGHT_API ProprioOptions {
  int64_t dim = 0;           ///< numbers in the observation "proprio"; 0: the model has none
  int64_t width = 10;        ///< of the embedding
  int64_t repeat = 1;        ///< copies of the embedding beside each other in a token's channels
  std::vector<double> mean;  ///< per number; empty: zeros
  std::vector<double> std;   ///< per number; empty: ones

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("dim", self.dim, "numbers in the observation \"proprio\"; 0: none");
    visit("width", self.width, "width of the embedding");
    visit("repeat", self.repeat, "copies of the embedding in a token's channels");
    visit("mean", self.mean, "mean per number; empty: zeros");
    visit("std", self.std, "standard deviation per number; empty: ones");
  }
  std::vector<std::string> validate() const;
};

/// Weights of the loss terms, each under the name that losses::Terms reports.
struct FORESIGHT_API DinoWmLossOptions {
  double prediction = 1.0;    ///< one step ahead, every frame of the window; targets detached
  double rollout = 0.0;       ///< 2..rollout_steps steps ahead, predictions fed back without
                              ///< gradient through them (arXiv 2512.24497)
  int64_t rollout_steps = 2;  ///< 2 in simulation, 6 on DROID (arXiv 2512.24497)

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("prediction", self.prediction, "weight: one step ahead, every frame of the window");
    visit("rollout", self.rollout, "weight: 2..rollout_steps steps ahead");
    visit("rollout_steps", self.rollout_steps, "steps of the rollout term");
  }
  std::vector<std::string> validate() const;
};

/// Defaults are DINO-WM on Push-T (arXiv 2411.04983), but for proprioception, which they lack.
struct FORESIGHT_API DinoWmOptions {
  ImageOptions image = {
      .size = 196, .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}, .resize = ResizeRule::crop};
  nn::VitOptions encoder = nn::dinov2(nn::DinoV2Size::small);
  int64_t encoder_image_size = nn::kDinoV2ImageSize;  ///< of the backbone's position table, pixels
  ProprioOptions proprio;
  nn::PatchPredictorOptions predictor;
  int64_t action_width = 10;  ///< of an action block's embedding
  int64_t action_repeat = 1;  ///< copies of it beside each other (feature conditioning)
  int64_t history = 3;        ///< W, frames that the predictor looks at
  ActionSpace action = action_blocks();
  DinoWmLossOptions loss;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "the frozen backbone");
    visit("encoder_image_size", self.encoder_image_size,
          "side of the picture to which the backbone's positions belong, pixels");
    visit("proprio", self.proprio, "the robot's own measurements");
    visit("predictor", self.predictor, "the transformer over patches");
    visit("action_width", self.action_width, "width of an action block's embedding");
    visit("action_repeat", self.action_repeat, "copies of it in a token's channels");
    visit("history", self.history, "frames that the predictor looks at");
    visit("action", self.action, "dimensions, limits and statistics of actions");
    visit("loss", self.loss, "weights of the loss terms");
  }
  std::vector<std::string> validate() const;

  /// P: patches of a picture.
  int64_t patches() const {
    return (image.size / encoder.patch) * (image.columns() / encoder.patch);
  }

  /// DINO-WM on Push-T as published: DINOv2-S at 196 pixels, four numbers of proprioception, blocks
  /// of five two-dimensional actions; a predictor of 20.1 million parameters.
  static DinoWmOptions dino_wm();
  /// The same in stable-worldmodel (PreJEPA): ImageNet statistics, 224 pixels, positions as Hugging
  /// Face resamples them.
  static DinoWmOptions prejepa();
  /// dino_wm() with actions by AdaLN and a two-step rollout loss, the variants that arXiv
  /// 2512.24497 found best in simulation.
  static DinoWmOptions adaln();

 private:
  static ActionSpace action_blocks();
};

}  // namespace foresight::models
