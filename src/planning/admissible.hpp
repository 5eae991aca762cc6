// SPDX-License-Identifier: Apache-2.0
// What a plan may be: action limits, rate limits and pinned values, kept jointly. One rule for the
// candidates and the answers of every planner.
#pragma once

#include "foresight/planning/proposal.hpp"

namespace foresight::detail {

/// Maps any actions to admissible ones; admissible ones stay as they are. Free of host reads.
/// Without rate limits a plan is clamped as a whole. With them (Problem::max_step) the raw actions
/// are visited in time order: each is first brought within reach of the one before it, then within
/// the limits, which keeps both because the one before lies within the limits. Pinned values win
/// over everything, and the action after one is bounded by it.
class Admissible {
 public:
  /// `bound` says which limits apply: those of the action space, a `radius`, or none. Rate limits
  /// and pinned values are the problem's and always apply.
  Admissible(const Problem& problem, BoundKind bound, double radius = 1.0);

  /// Candidates [B,S,H,A] or plans [B,H,A].
  Tensor operator()(const Tensor& actions) const;
  /// The same for actions that nobody else holds: where they are only clamped, in their own memory.
  void apply(Tensor& actions) const;

 private:
  Tensor step_by_step(const Tensor& actions) const;
  template <class T>
  void step_by_loop(Tensor& actions) const;
  Tensor within_limits(const Tensor& raw, const Tensor& previous) const;

  int64_t block_, dim_;
  BoundKind bound_;
  double radius_;
  Limits limits_;         // [A], where they apply
  Tensor pinned_, free_;  // [1 or B,H,A]
  Tensor max_step_;       // [dim]
  Tensor previous_;       // [B,dim]
};

}  // namespace foresight::detail
