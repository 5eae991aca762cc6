// SPDX-License-Identifier: Apache-2.0
// Everything that defines an EbJepa: pictures, networks, loss.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/losses/latent_regulariser.hpp"
#include "foresight/nn/impala.hpp"

namespace foresight::models {

/// Defaults are EB-JEPA on Two Rooms (arXiv 2602.03604).
struct FORESIGHT_API EbJepaOptions {
  int64_t image_size = 65;                            ///< side of the square picture, pixels
  std::vector<double> image_mean = {0.0026, 0.0989};  ///< per channel, of values scaled to [0, 1]
  std::vector<double> image_std = {0.0369, 0.2986};   ///< per channel; as many as image_mean
  nn::ImpalaOptions encoder;
  int64_t inverse_dynamics_hidden = 256;  ///< two hidden layers of that width; 0: no head
  std::vector<int64_t> projector = {};    ///< widths of the layers between the latent and std and
                                          ///< cov, e.g. {2048, 128}; empty: none
  int64_t predicted_steps = 8;            ///< imagined from the first frame of a clip in training
  double prediction = 1.0;                ///< weight of the prediction term
  losses::LatentRegulariserOptions regulariser;
  ActionSpace action = displacement();

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image_size", self.image_size, "side of the square picture, pixels");
    visit("image_mean", self.image_mean, "mean per channel of values scaled to [0, 1]");
    visit("image_std", self.image_std, "standard deviation per channel");
    visit("encoder", self.encoder, "the convolutional encoder");
    visit("inverse_dynamics_hidden", self.inverse_dynamics_hidden,
          "width of the inverse-dynamics head's hidden layers; 0: no head");
    visit("projector", self.projector, "widths of the layers before std and cov; empty: none");
    visit("predicted_steps", self.predicted_steps, "steps imagined in training");
    visit("prediction", self.prediction, "weight: imagined latents equal encoded ones");
    visit("regulariser", self.regulariser, "terms that keep latents informative");
    visit("action", self.action, "dimensions, limits and statistics of actions");
  }
  std::vector<std::string> validate() const;

  /// Channels of a picture.
  int64_t channels() const { return static_cast<int64_t>(image_mean.size()); }
  /// Width D of a latent.
  int64_t latent() const { return encoder.width; }

  /// EB-JEPA as published for Two Rooms: 2.5 million parameters.
  static EbJepaOptions two_rooms();
  /// The same for a laptop's CPU: narrower stacks and a latent of 128, 0.4 million parameters.
  static EbJepaOptions small();

 private:
  static ActionSpace displacement();
};

}  // namespace foresight::models
