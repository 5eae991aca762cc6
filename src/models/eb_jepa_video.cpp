// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa_video.hpp"

#include "foresight/losses/prediction.hpp"

namespace foresight::models {
namespace {

// Feature maps [B,T,D,h,w] as tokens [B,T,h*w,D].
Tensor tokens_of_maps(const Tensor& maps) { return maps.flatten(3).transpose(2, 3); }

void check_video_clip(const char* name, const Tensor& x, int64_t channels, int64_t frames) {
  check_shape(name, x, {kAny, kAny, channels, kAny, kAny}, "[B,T,C,h,w]");
  require(x.size(1) >= frames, ErrorCategory::invalid_argument,
          std::string(name) + " " + shape_string(x.sizes()) +
              " of T = " + std::to_string(x.size(1)) + " frames, expected " +
              std::to_string(frames) + " or more");
}

}  // namespace

std::vector<std::string> EbJepaVideoOptions::validate() const {
  Rules rules("EbJepaVideoOptions");
  rules.at_least("channels", static_cast<double>(channels), 1)
      .at_least("latent", static_cast<double>(latent), 1)
      .at_least("encoder_hidden", static_cast<double>(encoder_hidden), 1)
      .at_least("predictor_hidden", static_cast<double>(predictor_hidden), 1)
      .at_least("predicted_steps", static_cast<double>(predicted_steps), 1);
  for (const auto width : projector) rules.at_least("projector", static_cast<double>(width), 1);
  rules.check(regulariser.inverse_dynamics == 0, "regulariser.inverse_dynamics",
              regulariser.inverse_dynamics, "must be 0: there are no actions");
  return rules.nested("regulariser", regulariser.validate()).problems();
}

EbJepaVideo::EbJepaVideo(const EbJepaVideoOptions& options, std::uint64_t seed)
    : options_(options) {
  require_valid(options);
  encoder_ = register_module(
      "encoder",
      std::make_shared<nn::ResNet5>(options.channels, options.encoder_hidden, options.latent));
  predictor_ = nn::place(*this, "predictor.predictor",
                         std::make_shared<nn::ResUNet>(kContext * options.latent,
                                                       options.predictor_hidden, options.latent));
  std::vector<int64_t> widths{options.latent};
  widths.insert(widths.end(), options.projector.begin(), options.projector.end());
  if (widths.size() > 1)
    projector_ = nn::place(*this, "regularizer.proj", std::make_shared<nn::Projector>(widths));
  PhiloxNoise noise(seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
  if (projector_) projector_->initialise(noise);
}

Tensor EbJepaVideo::encode(const Tensor& clips, nn::Mode mode) const {
  check_video_clip("clips", clips, options_.channels, 1);
  return encoder_->forward(clips.flatten(0, 1), mode).unflatten(0, {clips.size(0), clips.size(1)});
}

Tensor EbJepaVideo::predict(const Tensor& latents, nn::Mode mode) const {
  check_video_clip("latents", latents, options_.latent, kContext);
  const auto pairs = at::cat({latents.slice(1, 0, -1), latents.slice(1, 1)}, 2);
  return predictor_->forward(pairs.flatten(0, 1), mode)
      .unflatten(0, {pairs.size(0), pairs.size(1)});
}

Tensor EbJepaVideo::parallel_pass(const Tensor& encoded, const Tensor& latents,
                                  nn::Mode mode) const {
  check_video_clip("latents", latents, options_.latent, kContext + 1);
  check_shape("encoded", encoded, latents.sizes(), "the latents' shape");
  // The prediction that lies beyond the clip is made too: it counts in batch statistics upstream.
  return at::cat({encoded.narrow(1, 0, kContext), predict(latents, mode).slice(1, 0, -1)}, 1);
}

Tensor EbJepaVideo::unroll(const Tensor& latents, int64_t steps, nn::Mode mode) const {
  check_video_clip("latents", latents, options_.latent, kContext);
  require(steps >= 1, ErrorCategory::invalid_argument,
          "unroll: steps = " + std::to_string(steps) + " must be >= 1");
  std::vector<Tensor> frames = latents.split(1, 1);
  for (int64_t i = 0; i < steps; ++i)
    frames.push_back(predict(at::cat({frames.end()[-2], frames.back()}, 1), mode));
  return at::cat(frames, 1);
}

Tensor EbJepaVideo::projected(const Tensor& latents) const {
  const auto tokens = tokens_of_maps(latents);
  return projector_ ? projector_->forward(tokens, nn::mode_of(*this)) : tokens;
}

losses::Terms EbJepaVideo::loss(const Tensor& clips) const {
  const auto mode = nn::mode_of(*this);
  const auto encoded = encode(clips, mode);
  losses::RegulariserHeads heads;
  if (projector_)
    heads.projector = [this](const Tensor& z) {
      return projector_->forward(z, nn::mode_of(*this));
    };
  const auto regulariser =
      losses::latent_regulariser(tokens_of_maps(encoded), Tensor(), options_.regulariser, heads);
  std::vector<Tensor> targets, passes;
  auto latents = encoded;
  for (int64_t i = 0; i < options_.predicted_steps; ++i) {
    latents = parallel_pass(encoded, latents, mode);
    // Anew for every pass: each side of a comparison has batch statistics of its own.
    targets.push_back(projected(encoded));
    passes.push_back(projected(latents));
  }
  losses::Terms terms;
  terms.add("prediction", 1.0, losses::multi_step_prediction(passes, targets));
  for (const auto& term : regulariser.terms()) terms.add(term.name, term.weight, term.value);
  return terms;
}

}  // namespace foresight::models
