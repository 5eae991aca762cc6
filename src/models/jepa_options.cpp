// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/jepa_options.hpp"

#include <cmath>

namespace foresight::models {

std::vector<std::string> JepaLossOptions::validate() const {
  Rules rules("JepaLossOptions");
  const auto weight = [&](double value, std::string_view name) {
    rules.check(std::isfinite(value) && value >= 0, name, value, "must be >= 0");
  };
  weight(prediction, "prediction");
  weight(rollout, "rollout");
  weight(sigreg, "sigreg");
  weight(std, "std");
  weight(std_t, "std_t");
  weight(cov, "cov");
  weight(cov_t, "cov_t");
  weight(temporal, "temporal");
  weight(inverse_dynamics, "inverse_dynamics");
  weight(straightening, "straightening");
  rules.check(prediction > 0 || rollout > 0, "prediction", prediction,
              "or rollout must be positive: nothing else trains the predictor");
  rules.check(std::isfinite(rollout_discount) && rollout_discount > 0, "rollout_discount",
              rollout_discount, "must be positive");
  rules.check(std::isfinite(variance_epsilon) && variance_epsilon > 0, "variance_epsilon",
              variance_epsilon, "must be positive");
  rules.nested("sigreg_options", sigreg_options.validate());
  return rules.problems();
}

std::vector<std::string> JepaOptions::validate() const {
  Rules rules("JepaOptions");
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  rules.nested("image", image.validate());
  if (encoder == EncoderKind::vit) rules.nested("vit", vit.validate());
  if (encoder == EncoderKind::cnn) rules.nested("cnn", cnn.validate());
  rules.nested("projector", projector.validate());
  rules.nested("action_encoder", action_encoder.validate());
  if (predictor == PredictorKind::adaln) rules.nested("adaln", adaln.validate());
  if (predictor == PredictorKind::mlp) rules.nested("mlp", mlp.validate());
  rules.nested("pred_proj", pred_proj.validate());
  rules.nested("action", action.validate());
  rules.nested("loss", loss.validate());

  rules.check(latent >= 1, "latent", number(latent), "must be >= 1");
  rules.check(image.width == 0 || image.width == image.size, "image.width", number(image.width),
              "must be 0: pictures are square");
  rules.check(history >= 1, "history", number(history), "must be >= 1");
  rules.check(predicted_steps >= 1, "predicted_steps", number(predicted_steps), "must be >= 1");
  rules.check(inverse_dynamics_hidden >= 0, "inverse_dynamics_hidden",
              number(inverse_dynamics_hidden), "must be >= 0");
  const auto features = encoder == EncoderKind::vit ? vit.width : cnn.width;
  rules.check(projector.hidden != 0 || latent == features, "latent", number(latent),
              "must equal the encoder's width = " + std::to_string(features) +
                  " when there is no projector (projector.hidden = 0)");
  rules.check(loss.rollout == 0 || predicted_steps >= 2, "predicted_steps", number(predicted_steps),
              "must be >= 2 for loss.rollout > 0");
  rules.check(loss.inverse_dynamics == 0 || inverse_dynamics_hidden >= 1, "inverse_dynamics_hidden",
              number(inverse_dynamics_hidden), "must be >= 1 for loss.inverse_dynamics > 0");
  return rules.problems();
}

JepaOptions JepaOptions::lewm() { return {}; }

JepaOptions JepaOptions::pldm() {
  JepaOptions options;
  options.inverse_dynamics_hidden = 512;
  options.loss.sigreg = 0.0;
  options.loss.std = 18.0;
  options.loss.std_t = 0.7;
  options.loss.cov = 12.0;
  options.loss.temporal = 0.2;
  return options;
}

JepaOptions JepaOptions::small() {
  JepaOptions options;
  options.image = {
      .size = 32, .mean = {0.5, 0.5, 0.5}, .std = {0.5, 0.5, 0.5}, .resize = ResizeRule::stretch};
  options.encoder = EncoderKind::cnn;
  options.cnn.channels = {8, 16, 32};
  options.cnn.width = 256;
  options.cnn.activation = nn::Activation::relu;
  options.projector.hidden = 256;
  options.latent = 16;
  options.action_encoder.width = 0;
  options.predictor = PredictorKind::mlp;
  options.mlp.hidden = {128, 128};
  options.pred_proj.hidden = 0;
  options.history = 1;
  options.predicted_steps = 4;
  // Four imagined steps count equally; variance and covariance keep the latent from collapsing.
  options.loss.prediction = 0.25;
  options.loss.rollout = 0.75;
  options.loss.sigreg = 0.0;
  options.loss.std = 1.0;
  options.loss.cov = 1.5;
  return options;
}

}  // namespace foresight::models
