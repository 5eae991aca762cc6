// SPDX-License-Identifier: Apache-2.0
// What the tests of the control loop share: a point mass to control, a quick planner, and a clock
// that only moves when it is told to.
#pragma once

#include <chrono>
#include <memory>

#include "catch.hpp"
#include "foresight/control/mpc.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "planning/point_mass.hpp"

namespace foresight {

inline std::shared_ptr<const Planner> quick_planner() {
  auto options = icem();
  options.samples = 64;
  options.elites = 8;
  options.iterations = 5;
  options.initial_std = {0.7};
  return std::make_shared<SamplingPlanner>(options);
}

inline Objective reach() {
  Objective objective;
  objective.add("goal", 1.0, goal_distance({.steps = Steps::sum}))
      .add("effort", 0.01, control_effort());
  return objective;
}

inline Observation at_state(const Tensor& state) { return {kProprio, state}; }

inline Observation goal_at(double x, double y, int64_t batch = 1) {
  return at_state(at::tensor({x, y, 0.0, 0.0}).to(at::kFloat).unsqueeze(0).repeat({batch, 1}));
}

inline bool admissible(const Decision& decision, int64_t batch) {
  return decision.action.defined() && decision.action.sizes() == at::IntArrayRef({batch, 2}) &&
         decision.action.isfinite().all().item<bool>() &&
         decision.action.abs().le(1.0).all().item<bool>();
}

/// Time as the test says; copies share it.
class ManualClock {
 public:
  Problem::Clock::time_point operator()() const { return *time_; }
  void pass(std::chrono::nanoseconds span) const { *time_ += span; }

 private:
  std::shared_ptr<Problem::Clock::time_point> time_ =
      std::make_shared<Problem::Clock::time_point>(std::chrono::hours(1000));
};

}  // namespace foresight
