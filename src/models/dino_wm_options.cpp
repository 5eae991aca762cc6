// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/dino_wm_options.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::models {

using nn::ActionConditioning;

std::vector<std::string> ProprioOptions::validate() const {
  Rules rules("ProprioOptions");
  const auto number = [](auto value) { return static_cast<double>(value); };
  rules.check(dim >= 0, "dim", number(dim), "must be >= 0");
  rules.check(width >= 1, "width", number(width), "must be >= 1");
  rules.check(repeat >= 1, "repeat", number(repeat), "must be >= 1");
  const auto fits = [&](const std::vector<double>& values, std::string_view name) {
    rules.check(values.empty() || number(values.size()) == number(dim), name, number(values.size()),
                "values, expected one per number of proprio or none");
  };
  fits(mean, "mean");
  fits(std, "std");
  for (const double value : mean)
    rules.check(std::isfinite(value), "mean", value, "must be finite");
  for (const double value : std)
    rules.check(std::isfinite(value) && value > 0, "std", value, "must be positive");
  return rules.problems();
}

std::vector<std::string> DinoWmLossOptions::validate() const {
  Rules rules("DinoWmLossOptions");
  for (const auto& [name, weight] :
       {std::pair{"prediction", prediction}, std::pair{"rollout", rollout}})
    rules.check(std::isfinite(weight) && weight >= 0, name, weight, "must be >= 0");
  rules.check(prediction > 0 || rollout > 0, "prediction", prediction,
              "or rollout must be positive: nothing else trains the predictor");
  rules.check(rollout_steps >= 2, "rollout_steps", static_cast<double>(rollout_steps),
              "must be >= 2");
  return rules.problems();
}

std::vector<std::string> DinoWmOptions::validate() const {
  Rules rules("DinoWmOptions");
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  rules.nested("image", image.validate())
      .nested("encoder", encoder.validate())
      .nested("proprio", proprio.validate())
      .nested("predictor", predictor.validate())
      .nested("action", action.validate())
      .nested("loss", loss.validate());
  rules.check(action_width >= 1, "action_width", number(action_width), "must be >= 1");
  rules.check(action_repeat >= 1, "action_repeat", number(action_repeat), "must be >= 1");
  rules.check(history >= 1, "history", number(history), "must be >= 1");
  rules.check(image.resize != ResizeRule::shorter_edge, "image.resize", enum_name(image.resize),
              "must be crop or stretch: the number of patches is fixed");
  if (encoder.patch >= 1) {
    rules.check(std::min(image.size, image.columns()) >= encoder.patch, "image.size",
                number(std::min(image.size, image.columns())),
                "must be at least one patch of the backbone");
    rules.check(encoder_image_size >= encoder.patch, "encoder_image_size",
                number(encoder_image_size), "must be at least one patch of the backbone");
  }
  if (predictor.conditioning == ActionConditioning::token) {
    const auto rule = "must equal the backbone's width = " + std::to_string(encoder.width) +
                      " with token conditioning";
    rules.check(action_width == encoder.width, "action_width", number(action_width), rule);
    rules.check(proprio.dim == 0 || proprio.width == encoder.width, "proprio.width",
                number(proprio.width), rule);
    rules.check(proprio.repeat == 1, "proprio.repeat", number(proprio.repeat),
                "must be 1 with token conditioning");
  }
  if (predictor.conditioning != ActionConditioning::feature)
    rules.check(action_repeat == 1, "action_repeat", number(action_repeat),
                "must be 1 unless actions are channels (feature conditioning)");
  return rules.problems();
}

ActionSpace DinoWmOptions::action_blocks() {
  ActionSpace space;
  space.dim = 2;
  space.block = 5;
  return space;
}

DinoWmOptions DinoWmOptions::dino_wm() {
  DinoWmOptions options;
  options.proprio.dim = 4;
  return options;
}

DinoWmOptions DinoWmOptions::prejepa() {
  auto options = dino_wm();
  options.image = {.size = 224, .resize = ResizeRule::crop};
  options.encoder.positions = nn::PositionResize::bicubic_float;
  return options;
}

DinoWmOptions DinoWmOptions::adaln() {
  auto options = dino_wm();
  options.predictor.conditioning = ActionConditioning::adaln;
  options.loss.rollout = 1.0;
  return options;
}

}  // namespace foresight::models
