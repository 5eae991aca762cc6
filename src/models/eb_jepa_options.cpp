// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/eb_jepa_options.hpp"

#include <cmath>

namespace foresight::models {

std::vector<std::string> EbJepaOptions::validate() const {
  using losses::LatentView;
  Rules rules("EbJepaOptions");
  const auto number = [](auto value) { return static_cast<double>(value); };
  rules.check(image_size >= 1, "image_size", number(image_size), "must be >= 1");
  rules.not_empty("image_mean", image_mean).all_within("image_mean", image_mean);
  rules.check(image_std.size() == image_mean.size(), "image_std", number(image_std.size()),
              "entries must be as many as image_mean has, " + std::to_string(image_mean.size()));
  for (const auto value : image_std)
    rules.check(std::isfinite(value) && value > 0, "image_std", value, "must be positive");
  rules.nested("encoder", encoder.validate());
  rules.check(inverse_dynamics_hidden >= 0, "inverse_dynamics_hidden",
              number(inverse_dynamics_hidden), "must be >= 0");
  for (const auto width : projector)
    rules.check(width >= 1, "projector", number(width), "must be >= 1");
  rules.check(predicted_steps >= 1, "predicted_steps", number(predicted_steps), "must be >= 1");
  rules.check(std::isfinite(prediction) && prediction > 0, "prediction", prediction,
              "must be positive: nothing else trains the predictor");
  rules.nested("regulariser", regulariser.validate());
  rules.check(regulariser.inverse_dynamics == 0 || inverse_dynamics_hidden >= 1,
              "inverse_dynamics_hidden", number(inverse_dynamics_hidden),
              "must be >= 1 for regulariser.inverse_dynamics > 0");
  rules.nested("action", action.validate());
  return rules.problems();
}

ActionSpace EbJepaOptions::displacement() {
  ActionSpace space;
  space.dim = 2;
  return space;
}

EbJepaOptions EbJepaOptions::two_rooms() { return {}; }

EbJepaOptions EbJepaOptions::small() {
  EbJepaOptions options;
  options.encoder.channels = {8, 16, 16};
  options.encoder.blocks = 1;
  options.encoder.width = 128;
  options.inverse_dynamics_hidden = 128;
  return options;
}

}  // namespace foresight::models
