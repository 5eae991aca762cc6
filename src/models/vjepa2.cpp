// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2.hpp"

namespace foresight::models {

std::vector<std::string> VJepa2Options::validate() const {
  Rules rules("VJepa2Options");
  rules.nested("image", image.validate());
  rules.nested("encoder", encoder.validate());
  rules.nested("predictor", predictor.validate());
  // Masks and the predictor number the places of the encoder's own grid: with pictures of another
  // size every number would mean another place.
  rules.check(image.size == encoder.image_height && image.columns() == encoder.image_width,
              "image.size", shape_string({image.size, image.columns()}),
              "must be the encoder's native size " +
                  shape_string({encoder.image_height, encoder.image_width}));
  rules.check(image.resize != ResizeRule::shorter_edge, "image.resize", enum_name(image.resize),
              "must be stretch or crop: the number of patches is fixed");
  return rules.problems();
}

VJepa2Options VJepa2Options::large() { return {}; }

VJepa2Options VJepa2Options::huge() {
  VJepa2Options options;
  options.encoder = nn::VideoVitOptions::huge();
  return options;
}

VJepa2Options VJepa2Options::giant() {
  VJepa2Options options;
  options.encoder = nn::VideoVitOptions::giant();
  return options;
}

VJepa2Options VJepa2Options::tiny() {
  VJepa2Options options;
  options.image.size = 64;
  options.encoder = nn::VideoVitOptions::tiny();
  options.predictor.width = 48;
  options.predictor.depth = 2;
  options.predictor.heads = 2;
  options.predictor.mlp_width = 192;
  options.predictor.mask_tokens = 2;
  options.predictor.rope = options.encoder.rope;
  return options;
}

VJepa2::VJepa2(const VJepa2Options& options, std::optional<std::uint64_t> seed)
    : options_(options) {
  require_valid(options);
  encoder_ = register_module("encoder", std::make_shared<nn::VideoVit>(options.encoder));
  predictor_ = register_module(
      "predictor", std::make_shared<nn::MaskedVideoPredictor>(
                       options.predictor, options.encoder.width, options.encoder.grid()));
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  predictor_->initialise(noise);
}

Tensor VJepa2::preprocess(const Tensor& pixels) const {
  check_shape("pixels", pixels, {kAny, kAny, kAny, kAny, 3}, "[B,T,H,W,3]");
  const auto like = encoder_->parameters().front().options().requires_grad(false);
  auto clips = preprocess_images(pixels.flatten(0, 1), options_.image, like)
                   .unflatten(0, {pixels.size(0), pixels.size(1)})
                   .transpose(1, 2);
  if (pixels.size(1) == 1 && !options_.encoder.is_picture())
    clips = clips.expand({-1, -1, options_.encoder.tubelet, -1, -1});
  return options_.encoder.is_picture() ? clips.squeeze(2) : clips;
}

}  // namespace foresight::models
