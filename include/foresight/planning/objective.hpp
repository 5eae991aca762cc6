// SPDX-License-Identifier: Apache-2.0
// What is wanted of an imagined future: named, weighted terms over a trajectory, and constraints.
// One rollout serves all of them. (planning/terms.hpp makes the usual terms; any callable of the
// same shape will do.)
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/planning/costs.hpp"

namespace foresight {

/// Field names of a task.
inline constexpr std::string_view kGoal = "goal";  ///< latent to reach, [B,P,D]
inline constexpr std::string_view kPreviousAction =
    "previous_action";  ///< raw-length [B,dim], normalised: sent last

/// What the terms are about, per problem: fields [B,...] such as the goal latent. Data, not part of
/// the objective, so that goals change and problems are picked by row without rebuilding anything.
using Task = State;

/// One cost: [B,S] from a trajectory (states of batch shape [B,S,H]) and a task (batch [B]). Lower
/// is better. To serve gradient planners it must be differentiable in the trajectory.
using CostTerm = std::function<Tensor(const Trajectory& trajectory, const Task& task)>;

/// How a cost function rolls out.
struct RolloutBudget {
  /// Bytes that states and trajectories of one call may take, 0: unlimited. The model's own
  /// temporaries come on top.
  int64_t bytes = 0;
};

/// A weighted sum of terms and any number of constraints. Value type; cheap to copy.
class FORESIGHT_API Objective {
 public:
  /// Adds weight * term. Throws on an empty or repeated name or a non-finite weight.
  Objective& add(std::string name, double weight, CostTerm term);
  /// Adds a constraint: [B,S] or [B,S,C], satisfied where <= 0.
  Objective& constrain(std::string name, CostTerm constraint);
  /// Changes the weight of an existing term.
  Objective& reweight(std::string_view name, double weight);

  std::vector<std::string> names() const;
  bool empty() const noexcept { return terms_.empty(); }

  /// All terms of a trajectory.
  Costs evaluate(const Trajectory& trajectory, const Task& task) const;

  /// Rolls candidates out from `state` (batch [B]) and evaluates them. Holds references to `model`
  /// and `noise`; copies of the objective, state and task. With a bytes budget the candidates are
  /// rolled out in slices.
  CostFunction cost_function(const WorldModel& model, State state, Noise& noise,
                             Task task = Task(1), RolloutBudget budget = {}) const;

 private:
  struct Part {
    std::string name;
    double weight;
    CostTerm term;
  };
  void check_name(const std::string& name) const;

  std::vector<Part> terms_;
  std::vector<Part> constraints_;
};

/// How many candidates of each of B problems fit `bytes`, at least 1: twice the state (one step's
/// input and output) plus H imagined states and actions.
FORESIGHT_API int64_t candidates_within(int64_t bytes, const WorldModel& model, const State& state,
                                        int64_t horizon);

}  // namespace foresight
