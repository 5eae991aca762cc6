// SPDX-License-Identifier: Apache-2.0
// The interface of everything that turns a Problem into a Plan.
#pragma once

#include "foresight/core/noise.hpp"
#include "foresight/planning/plan.hpp"

namespace foresight {

/// Planners hold options only: what one solve leaves for the next is in Plan::warm_start, owned by
/// the caller. One planner therefore serves several threads and any mix of problems.
class FORESIGHT_API Planner {
 public:
  virtual ~Planner() = default;

  /// Plans all B problems at once. Throws Error(invalid_argument) on a malformed problem; whatever
  /// happens later, a throwing or non-finite cost function included, is told by the plan's status.
  virtual Plan solve(const Problem& problem, Noise& noise) const = 0;

  /// The warm start after `raw_steps[b]` raw actions of problem b were executed; `block` raw
  /// actions make one action block. raw_steps[b] beyond the end of the plan (more than it has):
  /// problem b has no plan, its row becomes what the planner would start from without a warm start.
  /// Default: the mean is shifted, its end is zero, memory is dropped.
  virtual WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                            int64_t block) const;
};

}  // namespace foresight
