// SPDX-License-Identifier: Apache-2.0
// A planner in its control loop as a policy under test.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "foresight/control/mpc.hpp"
#include "foresight/eval/planning_evaluation.hpp"
#include "foresight/eval/recorded_input.hpp"

namespace foresight::eval {

/// Makes the control loop for a batch of problems: MpcOptions::batch must be the number asked for.
using MpcFactory = std::function<std::unique_ptr<Mpc>(int64_t batch)>;

/// Evaluates Mpc through the very interface that a robot uses: observations and goals in, raw
/// actions out. Solved problems stay in the batch (their picture stands still) so that every solve
/// has the same shape.
class FORESIGHT_API MpcEvalPolicy final : public EvalPolicy {
 public:
  /// `view`: what the model sees of what the evaluation shows; empty: all of it.
  MpcEvalPolicy(MpcFactory factory, std::string name, ObservationView view = {});
  std::string name() const override { return name_; }
  /// Throws Error(invalid_argument) if the factory's loop has another batch size, or what
  /// Mpc::set_goal() throws.
  void begin(const EvalProblems& problems) override;
  EvalActions act(const Observation& observation, const Tensor& active) override;

 private:
  Observation seen(const Observation& shown) const { return view_ ? view_(shown) : shown; }

  MpcFactory factory_;
  std::string name_;
  ObservationView view_;
  std::unique_ptr<Mpc> mpc_;
};

}  // namespace foresight::eval
