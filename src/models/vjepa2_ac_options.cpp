// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_ac_options.hpp"

#include <cmath>
#include <numbers>
#include <utility>

namespace foresight::models {

ActionSpace gripper_actions(double max_step) {
  require(std::isfinite(max_step) && max_step > 0, ErrorCategory::invalid_option,
          "gripper_actions: max_step = " + std::to_string(max_step) + " must be positive");
  constexpr double kTurn = std::numbers::pi, kOpening = 0.75;
  ActionSpace space;
  space.dim = kPoseWidth;
  space.high = {max_step, max_step, max_step, kTurn, kTurn, kTurn, kOpening};
  for (const double limit : space.high) space.low.push_back(-limit);
  return space;
}

std::vector<std::string> VJepa2AcLossOptions::validate() const {
  Rules rules("VJepa2AcLossOptions");
  for (const auto& [name, weight] :
       {std::pair{"teacher_forced", teacher_forced}, std::pair{"rollout", rollout}})
    rules.check(std::isfinite(weight) && weight >= 0, name, weight, "must be >= 0");
  rules.check(teacher_forced > 0 || rollout > 0, "teacher_forced", teacher_forced,
              "or rollout must be positive: nothing else trains the predictor");
  return rules.problems();
}

std::vector<std::string> VJepa2AcOptions::validate() const {
  Rules rules("VJepa2AcOptions");
  const auto number = [](int64_t value) { return static_cast<double>(value); };
  rules.nested("image", image.validate());
  rules.nested("encoder", encoder.validate());
  rules.nested("predictor", predictor.validate());
  rules.nested("action", action.validate());
  rules.nested("loss", loss.validate());
  rules.check(!encoder.is_picture(), "encoder.frames", number(encoder.frames),
              "must be > 1: frames are encoded as clips of one tubelet");
  rules.check(predictor.action_width == kPoseWidth, "predictor.action_width",
              number(predictor.action_width), "must be 7: position, three angles, opening");
  rules.check(action.dim == kPoseWidth && action.block == 1 && !action.discrete, "action.dim",
              number(action.dim), "must be 7 real numbers, one action a step");
  rules.check(action.mean.empty() && action.std.empty(), "action.mean", number(0),
              "and std must be empty: the network takes pose changes as they are");
  rules.check(history >= 1, "history", number(history), "must be >= 1");
  rules.check(window >= history, "window", number(window),
              "must be >= history = " + std::to_string(history));
  rules.check(rollout_bytes >= 0, "rollout_bytes", number(rollout_bytes), "must be >= 0");
  rules.check(auto_steps >= 1, "auto_steps", number(auto_steps), "must be >= 1");
  rules.check(std::isfinite(loss_exponent) && loss_exponent > 0, "loss_exponent", loss_exponent,
              "must be positive");
  return rules.problems();
}

}  // namespace foresight::models
