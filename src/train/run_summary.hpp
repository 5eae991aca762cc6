// SPDX-License-Identifier: Apache-2.0
// How a stage of a training went, as a bundle's provenance keeps it (of the weights that it ended
// with), and what was skipped.
#pragma once

#include <cmath>
#include <nlohmann/json.hpp>

#include "foresight/core/log.hpp"
#include "foresight/train/learn.hpp"

namespace foresight::train {

inline nlohmann::json run_summary(const TrainResult& result) {
  const auto number = [](double value) {
    return std::isfinite(value) ? nlohmann::json(value) : nlohmann::json();
  };
  return {{"steps", result.step},
          {"seconds", number(result.seconds)},
          {"step_ms", number(result.step_ms)},
          {"loss", number(result.loss)},
          {"validation_loss", number(result.kept_validation_loss)},
          {"success", number(result.kept_success)},
          {"kept_step", result.kept_step}};
}

/// Adds which windows were skipped, if any.
inline void tell_skipped(nlohmann::json& provenance, const LearnResult& result) {
  if (result.skipped_windows == 0) return;
  provenance["skipped_windows"] = result.skipped_windows;
  provenance["unreadable_episodes"] = result.unreadable_episodes;
}

inline void warn_of_skipped(const LearnResult& result) {
  if (result.skipped_windows > 0)
    log(LogLevel::warning, std::to_string(result.skipped_windows) +
                               " training windows could not be read and were replaced by others");
}

}  // namespace foresight::train
