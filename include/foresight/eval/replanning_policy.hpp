// SPDX-License-Identifier: Apache-2.0
// A planner that starts over at every step, as EB-JEPA evaluates planning: no warm start, and no
// look beyond the end of the episode. (MpcEvalPolicy evaluates the control loop that a robot runs,
// eval/mpc_policy.hpp.)
#pragma once

#include <memory>
#include <string>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/core/world_model.hpp"
#include "foresight/eval/planning_evaluation.hpp"
#include "foresight/eval/recorded_input.hpp"
#include "foresight/planning/objective.hpp"
#include "foresight/planning/planner.hpp"

namespace foresight::eval {

struct FORESIGHT_API ReplanningOptions {
  int64_t horizon = 90;         ///< actions that a plan looks ahead; EB-JEPA 90
  int64_t episode_steps = 200;  ///< a plan never reaches beyond; EB-JEPA 200
  int64_t candidate_bytes = 0;  ///< that imagined candidates may take at once; 0: unlimited
  int64_t seed = 0;             ///< of the planner's noise

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("horizon", self.horizon, "actions that a plan looks ahead");
    visit("episode_steps", self.episode_steps, "steps of an episode, beyond which no plan reaches");
    visit("candidate_bytes", self.candidate_bytes,
          "bytes that imagined candidates may take at once; 0: unlimited");
    visit("seed", self.seed, "of the planner's noise");
  }
  std::vector<std::string> validate() const;
};

/// Plans all N problems at once at every step, over min(horizon, steps left) actions, and executes
/// the first. The goal's latent is the task field "goal". The model must take one raw action a step
/// (block 1) and need no history. Candidates are bounded by the planner alone, as upstream's are:
/// no limits of the action space are applied to what is executed.
class FORESIGHT_API ReplanningPolicy final : public EvalPolicy {
 public:
  /// `view`: what the model sees of what the evaluation shows; empty: all of it. Throws
  /// Error(invalid_argument) for null pointers, Error(invalid_option), or Error(unsupported) for
  /// action blocks and for models that look at more than one observation.
  ReplanningPolicy(std::shared_ptr<const WorldModel> model, Objective objective,
                   std::shared_ptr<const Planner> planner, ReplanningOptions options,
                   std::string name, ObservationView view = {});
  std::string name() const override { return name_; }
  void begin(const EvalProblems& problems) override;
  EvalActions act(const Observation& observation, const Tensor& active) override;

 private:
  Observation seen(const Observation& shown) const { return view_ ? view_(shown) : shown; }

  std::shared_ptr<const WorldModel> model_;
  Objective objective_;
  std::shared_ptr<const Planner> planner_;
  ReplanningOptions options_;
  std::string name_;
  ObservationView view_;
  PhiloxNoise noise_;
  Task goal_{1};
  int64_t step_ = 0;
};

}  // namespace foresight::eval
