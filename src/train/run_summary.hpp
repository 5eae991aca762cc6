// SPDX-License-Identifier: Apache-2.0
// How a stage of a training went, as a bundle's provenance keeps it.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "foresight/train/trainer.hpp"

namespace foresight::train {

inline nlohmann::json run_summary(const TrainResult& result) {
  const auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
  };
  return {{"steps", result.step},
          {"seconds", number(result.seconds)},
          {"step_ms", number(result.step_ms)},
          {"loss", number(result.loss)},
          {"validation_loss", number(result.validation_loss)},
          {"success", number(result.success)},
          {"kept_step", result.kept_step}};
}

}  // namespace foresight::train
