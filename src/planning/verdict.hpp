// SPDX-License-Identifier: Apache-2.0
// How a finished search becomes statuses and a message: shared by all planners, with the one host
// read of a solve.
#pragma once

#include "cpu_loops.hpp"
#include "foresight/planning/plan.hpp"

namespace foresight::detail {

/// What the verdict is based on.
struct Evidence {
  Tensor best_cost;  ///< [B], +infinity: no finite cost was ever seen; undefined: nothing was
                     ///< evaluated
  Tensor feasible;   ///< bool [B]; undefined: unconstrained
  bool deadline_reached = false;
  int64_t planned_iterations = 0;
};

/// Fills plan.status, statuses and message from plan.actions and the evidence.
void judge(Plan& plan, const Evidence& evidence);

/// A search that was stopped by an exception: status failed, the fallback as actions, unknown cost.
void give_up(Plan& plan, const std::string& why, const Tensor& fallback);

/// Elementwise choice by problem: `condition` [B].
Tensor choose(const Tensor& condition, const Tensor& yes, const Tensor& no);
/// The same of [B] totals and terms and [B,C] constraints; both sides have the same terms.
Costs choose(const Tensor& condition, const Costs& yes, const Costs& no);
/// One candidate per problem, index [B,1]: [B] totals and terms, [B,C] constraints.
Costs picked(const Costs& costs, const Tensor& index);
/// Sum over constraints of how far each is broken, [B,S]; undefined where unconstrained. NaN counts
/// as infinity.
Tensor violation_of(const Costs& costs);

}  // namespace foresight::detail
