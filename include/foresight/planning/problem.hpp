// SPDX-License-Identifier: Apache-2.0
// What a planner is asked: B independent problems of one horizon, and where to start searching.
#pragma once

#include <chrono>
#include <functional>
#include <optional>

#include "foresight/core/action_space.hpp"
#include "foresight/planning/costs.hpp"

namespace foresight {

/// What one solve leaves for the next. Every tensor has B as its first axis, so that single
/// problems can be picked or cleared by row.
struct FORESIGHT_API WarmStart {
  Tensor mean;   ///< [B,h,A] plan to search around; undefined or h = 0: none. h < H: Problem::tail
                 ///< or the planner's tail rule adds the rest; rows beyond H are dropped
  Terms memory;  ///< what else the planner remembers, by name ("elites", "rates", "knots",
                 ///< "multipliers")

  bool empty() const { return !mean.defined() && memory.empty(); }
  /// Rows `rows` (int64 [N]) of every tensor.
  WarmStart select(const Tensor& rows) const;
};

/// B planning problems. Candidates are [B,S,H,A]: H normalised action blocks, strictly in the
/// future.
struct FORESIGHT_API Problem {
  using Clock = std::chrono::steady_clock;

  int64_t batch = 1;    ///< B
  int64_t horizon = 1;  ///< H, in action blocks
  ActionSpace action;   ///< width A and, in normalised units, the limits
  CostFunction cost;

  WarmStart warm_start;
  /// Completes a warm start: [B,h,A] -> [B,H-h,A], e.g. an actor's rollout. Unset: the planner's
  /// tail rule.
  std::function<Tensor(const Tensor& prefix)> tail;
  /// [B,N,H,A] plans that join the candidates of every iteration (policy rollouts, hand-made
  /// plans); gradient planners start further candidates from them.
  Tensor proposals;
  /// [H,A] or [B,H,A]: values that every plan takes, NaN where the planner is free (gripper closed
  /// from block k on, unused dimensions). They win over limits.
  Tensor pinned;
  /// [dim], normalised: the largest change of each raw action from the one before it, also from
  /// block to block; +infinity where a dimension is free. Undefined: no rate limits. Every
  /// candidate and answer keeps them together with the action limits. Continuous actions only.
  Tensor max_step;
  /// [B,dim], normalised: the raw action applied just before the first candidate action. Within the
  /// action limits, or the limits win over the rate. Undefined: the first action is free.
  Tensor previous_action;

  std::optional<Clock::time_point> deadline;  ///< unset: as long as it takes
  /// Reads the time that `deadline` is in: a test, or a simulator with a time of its own, sets it.
  std::function<Clock::time_point()> now = Clock::now;
  at::TensorOptions options =
      at::TensorOptions().dtype(at::kFloat);  ///< dtype and device of the search

  int64_t width() const { return action.width(); }
  /// Throws Error(invalid_argument) that names the field, its value and the rule.
  void check() const;
};

/// How the new end of a shifted or too short plan is filled.
enum class Tail {
  prior,        ///< the planner's initial mean
  repeat_last,  ///< the last action goes on
};

/// [B,h,A] advanced by `raw_steps[b]` raw actions of `block` per row: executed actions leave at the
/// front, the free end is filled by `tail` (prior: zeros). Equal whole-block shifts under
/// Tail::prior are returned without a filled end, as [B,h-k,A]. h is kept otherwise; raw actions
/// are moved across block borders.
FORESIGHT_API Tensor advance_plan(const Tensor& plan, const std::vector<int64_t>& raw_steps,
                                  int64_t block, Tail tail);

}  // namespace foresight
