// SPDX-License-Identifier: Apache-2.0
// What is wanted of an imagined future: named, weighted terms over a trajectory, constraints, and
// how much risk is acceptable where one plan has several futures. One rollout serves all of them.
// (planning/terms.hpp and planning/regions.hpp make the usual terms; any callable of the same shape
// will do.)
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/world_model.hpp"
#include "foresight/planning/costs.hpp"
#include "foresight/planning/recheck.hpp"
#include "foresight/planning/risk.hpp"

namespace foresight {

/// Name that Objective gives to what a risk measure adds to the expected cost.
inline constexpr std::string_view kRiskPremium = "risk_premium";

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

/// What a term is shown of a candidate with several imagined futures, once a risk measure is set.
enum class TermView {
  each_particle,  ///< one future at a time; the measure makes one cost of them
  all_particles,  ///< the candidate with the fields of all particles (core/particles.hpp), e.g. how
                  ///< far they disagree; the measure does not apply
};

/// How a cost function rolls out.
struct RolloutBudget {
  /// Bytes that states and trajectories of one call may take, 0: unlimited. The model's own
  /// temporaries come on top.
  int64_t bytes = 0;
};

/// A weighted sum of terms and any number of constraints. Value type; cheap to copy.
///
/// Under a risk measure the cost of a candidate is that measure of the weighted sum over its
/// particles, plus the terms that see all particles. Reported terms are means over the particles,
/// and kRiskPremium is what the measure adds to their sum, so that terms still add up to the total.
class FORESIGHT_API Objective {
 public:
  /// Adds weight * term. Throws on an empty or repeated name or a non-finite weight.
  Objective& add(std::string name, double weight, CostTerm term,
                 TermView view = TermView::each_particle);
  /// Adds a constraint: [B,S] or [B,S,C], satisfied where <= 0.
  Objective& constrain(std::string name, CostTerm constraint,
                       TermView view = TermView::each_particle);
  /// Changes the weight of an existing term.
  Objective& reweight(std::string_view name, double weight);
  /// How the costs of several futures become one. Throws Error(invalid_option).
  Objective& set_risk(const RiskOptions& risk);
  /// cost_function() imagines most candidates with `quick`, which is its model computed in `type`,
  /// and evaluates the terms in the state's own type; see recheck_survivors(). For deterministic
  /// models. Throws Error(invalid_option); Error(unsupported) beside constraints and with several
  /// rollouts per candidate, in whichever order they are set.
  Objective& set_quick_model(std::shared_ptr<const WorldModel> quick, at::ScalarType type,
                             const RecheckOptions& recheck);
  /// A goal is to give the task field `task_field` as well as its latent: what the state that is
  /// observed there has under `state_field`, e.g. "goal_proprio" from "proprio".
  Objective& take_from_goal(std::string task_field, std::string state_field);

  /// The task fields of take_from_goal().
  std::vector<std::string> fields_from_goal() const;

  std::vector<std::string> names() const;
  std::vector<std::string> constraint_names() const;
  const RiskOptions& risk() const noexcept { return risk_; }
  /// The task fields [B,...] of take_from_goal() for an observed goal of B problems. Throws
  /// Error(unsupported) where the model's states have no such field.
  std::vector<std::pair<std::string, Tensor>> goal_fields(const WorldModel& model,
                                                          const Observation& goal,
                                                          Noise& noise) const;
  bool empty() const noexcept { return terms_.empty(); }

  /// All terms of a trajectory, which holds its particles as core/particles.hpp says.
  Costs evaluate(const Trajectory& trajectory, const Task& task) const;

  /// Rolls candidates out from `state` (batch [B]) and evaluates them; each candidate
  /// risk().particles times where a measure is set. Holds references to `model` and `noise`; copies
  /// of the objective, state and task. With a bytes budget the candidates are rolled out in slices.
  CostFunction cost_function(const WorldModel& model, State state, Noise& noise,
                             Task task = Task(1), RolloutBudget budget = {}) const;

 private:
  struct Part {
    std::string name;
    double weight;
    CostTerm term;
    TermView view;
  };
  /// A trajectory in the two forms that terms may ask for.
  struct Futures {
    Trajectory each;        // [B,S*M], every particle a candidate
    Trajectory all;         // [B,S] with particle fields
    int64_t particles = 1;  // M
    const Trajectory& of(TermView view) const {
      return view == TermView::each_particle ? each : all;
    }
  };
  // The same model in a type of fewer bits.
  struct Quick {
    std::shared_ptr<const WorldModel> model;
    at::ScalarType type;
    RecheckOptions recheck;
  };
  using Imagine = std::function<Trajectory(const Tensor& actions)>;
  void add_part(std::vector<Part>& parts, Part part);
  static void check_quick(bool constrained, const RiskOptions& risk);
  CostFunction costs_of(Imagine imagine, const Task& task) const;
  bool needs(TermView view) const;
  Futures futures_of(Trajectory rolled_out, int64_t rollouts) const;
  Costs evaluate_plainly(const Trajectory& trajectory, const Task& task) const;
  Costs evaluate_risk(const Futures& futures, const Task& task) const;

  std::vector<Part> terms_;
  std::vector<Part> constraints_;
  std::vector<std::pair<std::string, std::string>> from_goal_;  // task field, state field
  RiskOptions risk_;
  std::optional<Quick> quick_;
};

/// How many candidates of each of B problems fit `bytes`, at least 1: twice the state (one step's
/// input and output) plus H imagined states and actions.
FORESIGHT_API int64_t candidates_within(int64_t bytes, const WorldModel& model, const State& state,
                                        int64_t horizon);

}  // namespace foresight
