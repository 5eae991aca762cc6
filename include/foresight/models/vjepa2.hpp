// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 (arXiv 2506.09985): a video transformer whose features are learned by predicting, in
// feature space, what is hidden of a clip. The encoder serves other models as a frozen backbone and
// probes as a feature extractor; encoder and predictor together are pre-trained (see
// models/vjepa2_pretraining.hpp).
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <optional>

#include "foresight/models/image_preprocessing.hpp"
#include "foresight/models/masked_predictor.hpp"
#include "foresight/nn/masked_video_predictor.hpp"
#include "foresight/nn/video_vit.hpp"

namespace foresight::models {

/// Defaults are ViT-L at 256 pixels. Pictures have the native size of `encoder`.
struct FORESIGHT_API VJepa2Options {
  ImageOptions image = {.size = 256, .resize = ResizeRule::stretch};
  nn::VideoVitOptions encoder;
  nn::MaskedVideoPredictorOptions predictor;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image", self.image, "picture size and statistics");
    visit("encoder", self.encoder, "the video transformer");
    visit("predictor", self.predictor, "the masked predictor");
  }
  std::vector<std::string> validate() const;

  /// facebook/vjepa2-vitl-fpc64-256, -vith- and -vitg-.
  static VJepa2Options large();
  static VJepa2Options huge();
  static VJepa2Options giant();
  /// 64-pixel clips of 8 frames: pre-trains on a CPU in minutes.
  static VJepa2Options tiny();
};

/// State-dict keys: encoder.*, predictor.*, below them those of the original checkpoints.
class FORESIGHT_API VJepa2 : public MaskedPredictor, public torch::nn::Module {
 public:
  /// A model with initial weights drawn from `seed`; without one, weights are for a loader to
  /// fill. Throws Error(invalid_option).
  explicit VJepa2(const VJepa2Options& options, std::optional<std::uint64_t> seed = 0);

  const VJepa2Options& options() const noexcept { return options_; }
  const nn::VideoVit& encoder() const { return *encoder_; }
  nn::VideoVit& encoder() { return *encoder_; }
  const nn::MaskedVideoPredictor& predictor() const { return *predictor_; }

  /// RGB bytes [B,T,H,W,3] -> clips [B,3,T,h,w] as the encoder takes them. A single frame is
  /// repeated so that it fills a tubelet.
  Tensor preprocess(const Tensor& pixels) const;
  /// Clips -> all tokens [B,n,D].
  Tensor encode(const Tensor& clips) const { return encoder_->forward(clips); }
  Tensor encode_context(const Tensor& clips, const Tensor& ids) const override {
    return encoder_->forward(clips, ids);
  }
  Tensor predict_targets(const Tensor& context, const Tensor& context_ids, const Tensor& target_ids,
                         int64_t mask_index = 0) const override {
    return predictor_->forward(context, context_ids, target_ids, mask_index);
  }

 private:
  VJepa2Options options_;
  std::shared_ptr<nn::VideoVit> encoder_;
  std::shared_ptr<nn::MaskedVideoPredictor> predictor_;
};

}  // namespace foresight::models
