// SPDX-License-Identifier: Apache-2.0
// What a planner answers: actions with a status, what they cost and how the search went.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/status.hpp"
#include "foresight/planning/problem.hpp"

namespace foresight {

/// Host-side wall clock of one solve, seconds. On an accelerator `cost` is the time to enqueue the
/// work.
struct Timings {
  double total = 0;              ///< solve() from entry to return, final device read included
  double cost = 0;               ///< inside the cost function
  double slowest_iteration = 0;  ///< worst single iteration
};

/// Everything of one iteration, kept when PlannerRecord::everything is asked for.
struct IterationRecord {
  Tensor candidates;  ///< [B,S,H,A] as evaluated
  Tensor costs;       ///< [B,S] as ranked: control cost included, non-finite replaced by +infinity
  Tensor survivors;   ///< int64 [B,K] in ascending cost; undefined where all candidates were used
  Tensor weights;     ///< [B,K] or [B,S], sums to 1
  Tensor mean;        ///< refitted search parameters: [B,H,A] for Gaussian search
  Tensor std;         ///< like `mean`; undefined where the search has none
  Tensor variables;   ///< what was sampled where that is not the actions themselves (knots, rates)
  Tensor gradient;    ///< [B,S,H,A], gradient planners only
};

/// One update of the LagrangianPlanner's multipliers, kept when PlannerRecord::everything is asked
/// for.
struct MultiplierUpdate {
  Tensor constraint;   ///< [B,S,C] of the candidates after the gradient steps
  Tensor multipliers;  ///< [B,C] afterwards
  double rho = 0;      ///< the penalty weight that it was made with
};

/// How the search went, per iteration. Tensors are [I,B] on the problem's device; undefined if no
/// iteration ran.
struct Diagnostics {
  int64_t iterations = 0;    ///< completed iterations
  Tensor best_cost;          ///< lowest cost of the iteration
  Tensor survivor_cost;      ///< weighted mean cost of the candidates that shaped the update
  Tensor spread;             ///< mean standard deviation of the search afterwards (elite spread)
  Tensor effective_samples;  ///< 1 / sum of squared weights
  Tensor non_finite;         ///< int64, candidates whose cost was NaN or infinite
  bool result_evaluated =
      false;  ///< Plan::cost and terms were computed for the returned plan itself
  std::vector<IterationRecord> iteration;  ///< empty unless recording was asked for
  /// One per outer iteration of the LagrangianPlanner; empty unless constrained and recorded.
  std::vector<MultiplierUpdate> multiplier_updates;
};

/// A plan for every problem; failure until proven otherwise.
struct Plan {
  Status status = Status::not_started;  ///< the worst of `statuses`
  std::string message = "solve() was not called";
  std::vector<Status> statuses;  ///< one per problem
  Tensor
      actions;  ///< [B,H,A] normalised blocks within the limits; undefined if solve() failed early
  Tensor cost;  ///< [B]; NaN where nothing was evaluated
  Terms terms;  ///< [B] each, of the returned plan; empty unless it was evaluated
  Tensor
      constraint;  ///< [B,C] of the returned plan; undefined where unconstrained or not evaluated
  WarmStart warm_start;  ///< for Planner::advance() and the next problem
  Timings timings;
  Diagnostics diagnostics;
};

/// The status to report for a batch: the worst of its rows.
FORESIGHT_API Status worst(const std::vector<Status>& statuses);

}  // namespace foresight
