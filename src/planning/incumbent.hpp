// SPDX-License-Identifier: Apache-2.0
// The best candidate of every problem: of the last iteration and of all so far.
#pragma once

#include "foresight/planning/update.hpp"

namespace foresight::detail {

/// Whether the costs and terms of the best candidate ever are kept beside it. They always are where
/// there are constraints.
enum class KeepCosts { no, yes };

/// Feasible before infeasible, infeasible by violation, then by cost. Free of host reads.
class Incumbent {
 public:
  explicit Incumbent(KeepCosts keep) : keep_(keep) {}

  /// Takes in an iteration. `survivors` [B,K,H,A] are the selection's actions, best first;
  /// undefined where all candidates survived in their own order.
  void meet(const Ranking& ranking, const Selection& selection, const Tensor& survivors,
            const Tensor& actions, const Costs& costs);

  bool defined() const { return cost_.defined(); }
  const Tensor& cost() const { return cost_; }            ///< [B], best ever
  const Tensor& plan() const { return plan_; }            ///< [B,H,A], best ever
  const Tensor& violation() const { return violation_; }  ///< [B] of it; undefined: unconstrained
  const Costs& costs() const { return costs_; }           ///< of it, where they are kept
  const Tensor& last_index() const { return index_; }     ///< [B,1] in the last iteration
  const Tensor& last_cost() const { return last_cost_; }  ///< [B], best of the last iteration

 private:
  void keep_costs(const Costs& costs, const Tensor& better);

  KeepCosts keep_;
  Tensor index_, last_cost_;
  Tensor cost_, plan_, violation_;
  Costs costs_;
};

}  // namespace foresight::detail
