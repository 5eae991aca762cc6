// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/lejepa.hpp"

#include "constant_row.hpp"
#include "foresight/losses/prediction.hpp"

namespace foresight::models {

std::vector<std::string> LeJepaOptions::validate() const {
  return Rules("LeJepaOptions")
      .nested("image", image.validate())
      .nested("encoder", encoder.validate())
      .nested("projector", projector.validate())
      .nested("sigreg", sigreg.validate())
      .at_least("projector.hidden", static_cast<double>(projector.hidden), 1)
      .at_least("projection", static_cast<double>(projection), 1)
      .check(regularisation > 0 && regularisation < 1, "regularisation", regularisation,
             "must be in (0, 1)")
      .problems();
}

LeJepaOptions LeJepaOptions::small() {
  LeJepaOptions options;
  options.sigreg.projections = 1024;
  return options;
}

LeJepaOptions LeJepaOptions::minimal() {
  LeJepaOptions options;
  options.image.size = 128;
  options.encoder.patch = 8;
  return options;
}

LeJepaOptions LeJepaOptions::tiny() {
  LeJepaOptions options;
  options.image.size = 32;
  options.encoder.patch = 8;
  options.encoder.width = 48;
  options.encoder.depth = 3;
  options.encoder.heads = 3;
  options.encoder.mlp_width = 96;
  options.projector.hidden = 128;
  return options;
}

LeJepa::LeJepa(const LeJepaOptions& options, std::optional<std::uint64_t> seed)
    : options_(options) {
  require_valid(options);
  encoder_ =
      register_module("encoder", std::make_shared<nn::Vit>(options.encoder, options.image.size));
  projector_ = register_module(
      "projector", std::make_shared<nn::Projection>(options.encoder.width, options.projector,
                                                    options.projection));
  if (!seed) return;
  PhiloxNoise noise(*seed);
  encoder_->initialise(noise);
  projector_->initialise(noise);
}

Tensor LeJepa::normalise(const Tensor& images) const {
  check_shape("images", images, {kAny, 3, kAny, kAny}, "[N,3,h,w]");
  const auto like = encoder_->parameters().front().options().requires_grad(false);
  const auto channel = [&](const std::vector<double>& values) {
    return constant_row(values, like).view({1, 3, 1, 1});
  };
  return (images.to(like) - channel(options_.image.mean)) / channel(options_.image.std);
}

Tensor LeJepa::encode(const Tensor& images) const {
  return encoder_->encode(images, nn::mode_of(*this));
}

Tensor LeJepa::project(const Tensor& features, nn::Mode mode) const {
  return projector_->forward(features, mode);
}

losses::Terms LeJepa::loss_of_projections(const Tensor& projections, int64_t global_views,
                                          Noise& noise) const {
  check_shape("projections", projections, {kAny, kAny, options_.projection}, "[V,B,K]");
  require(global_views >= 1 && global_views <= projections.size(0), ErrorCategory::invalid_argument,
          "global views = " + std::to_string(global_views) + " of " +
              std::to_string(projections.size(0)) + " views");
  const auto centre = projections.narrow(0, 0, global_views).mean(0, /*keepdim=*/true);
  const auto lambda = options_.regularisation;
  losses::Terms terms;
  terms.add("invariance", 1 - lambda,
            losses::prediction(projections, centre.expand_as(projections)));
  terms.add("sigreg", lambda, losses::sigreg(projections, options_.sigreg, noise));
  return terms;
}

}  // namespace foresight::models
