// SPDX-License-Identifier: Apache-2.0
// The diagnostics of a sampling search: a row an iteration, stacked at the end.
#pragma once

#include "foresight/planning/plan.hpp"
#include "foresight/planning/update.hpp"

namespace foresight::detail {

class SearchLog {
 public:
  /// One iteration: its costs [B,S], best cost [B], survivors, and the spread [B] of the search
  /// after the update.
  void add(const Ranking& ranking, const Tensor& best, const Selection& selection,
           const Tensor& spread);
  /// Weighted mean cost [B] of the last iteration's survivors.
  Tensor last_survivor_cost() const { return survivor_.back(); }
  /// Fills the stacked tensors of `diagnostics`; nothing if no iteration ran.
  void stack(Diagnostics& diagnostics) const;

 private:
  std::vector<Tensor> best_, survivor_, concentration_, spread_, non_finite_;
};

}  // namespace foresight::detail
