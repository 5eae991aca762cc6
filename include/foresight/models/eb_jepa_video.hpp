// SPDX-License-Identifier: Apache-2.0
// EB-JEPA on video without actions (arXiv 2602.03604, Moving MNIST): latents are feature maps at
// the picture's resolution, and the next one is predicted from two.
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "foresight/losses/latent_regulariser.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/nn/projector.hpp"
#include "foresight/nn/res_unet.hpp"

namespace foresight::models {

/// Defaults are EB-JEPA's.
struct FORESIGHT_API EbJepaVideoOptions {
  int64_t channels = 1;                 ///< of a picture
  int64_t latent = 16;                  ///< D, channels of a latent
  int64_t encoder_hidden = 32;          ///< width of the encoder's first block
  int64_t predictor_hidden = 32;        ///< width of the predictor's first block
  std::vector<int64_t> projector = {};  ///< widths of the layers through which all losses look;
                                        ///< empty: none
  int64_t predicted_steps = 4;  ///< in training
  losses::LatentRegulariserOptions regulariser = {.std = 10.0,
                                                  .cov = 100.0,
                                                  .temporal = 0.0,
                                                  .inverse_dynamics = 0.0,
                                                  .samples = losses::SampleUnit::token};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("channels", self.channels, "of a picture");
    visit("latent", self.latent, "channels of a latent");
    visit("encoder_hidden", self.encoder_hidden, "width of the encoder's first block");
    visit("predictor_hidden", self.predictor_hidden, "width of the predictor's first block");
    visit("projector", self.projector, "widths of the layers through which all losses look");
    visit("predicted_steps", self.predicted_steps, "steps imagined in training");
    visit("regulariser", self.regulariser, "terms that keep latents informative");
  }
  std::vector<std::string> validate() const;
};

/// Clips are [B,T,C,h,w], latents [B,T,D,h,w]. State-dict keys: encoder.* (nn::ResNet5),
/// predictor.predictor.* (nn::ResUNet), regularizer.proj.net.*, as upstream's but for its aliases
/// action_encoder.* and predcost.proj.*.
class FORESIGHT_API EbJepaVideo : public torch::nn::Module {
 public:
  /// Frames that a prediction looks at.
  static constexpr int64_t kContext = 2;

  /// A model with initial weights drawn from `seed`. Throws Error(invalid_option).
  explicit EbJepaVideo(const EbJepaVideoOptions& options, std::uint64_t seed = 0);

  const EbJepaVideoOptions& options() const noexcept { return options_; }

  Tensor encode(const Tensor& clips, nn::Mode mode) const;
  /// What follows every pair of consecutive latents [B,T,...], T >= 2: [B,T-1,...]; the last lies
  /// beyond the clip.
  Tensor predict(const Tensor& latents, nn::Mode mode) const;
  /// One pass over a clip, T >= 3: every frame after the first two is replaced by what `latents`
  /// predict for it; the first two are `encoded` ones. [B,T,...].
  Tensor parallel_pass(const Tensor& encoded, const Tensor& latents, nn::Mode mode) const;
  /// Latents [B,W,...], W >= 2, and `steps` more, each from the last two: [B,W+steps,...].
  Tensor unroll(const Tensor& latents, int64_t steps, nn::Mode mode) const;

  /// "prediction": the mean over predicted_steps passes, each on the last one's result, of the
  /// squared difference to the encoded frames, through the projector; and the terms of
  /// losses::latent_regulariser(). Follows the training flag.
  losses::Terms loss(const Tensor& clips) const;

 private:
  Tensor projected(const Tensor& latents) const;

  EbJepaVideoOptions options_;
  std::shared_ptr<nn::ResNet5> encoder_;
  std::shared_ptr<nn::ResUNet> predictor_;
  std::shared_ptr<nn::Projector> projector_;
};

}  // namespace foresight::models
