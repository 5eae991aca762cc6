// SPDX-License-Identifier: Apache-2.0
#include "search_log.hpp"

#include "cpu_loops.hpp"

namespace foresight::detail {
namespace {

// Rows of all iterations; of a single one without a copy.
Tensor stacked(const std::vector<Tensor>& rows) {
  return rows.size() == 1 ? rows.front().unsqueeze(0) : at::stack(rows);
}

}  // namespace

void SearchLog::add(const Ranking& ranking, const Tensor& best, const Selection& selection,
                    const Tensor& spread) {
  best_.push_back(best);
  survivor_.push_back(weighted_cost(selection.cost, selection.weight));
  concentration_.push_back(selection.concentration);
  spread_.push_back(spread);
  non_finite_.push_back(infinite_count(ranking.cost));
}

void SearchLog::stack(Diagnostics& diagnostics) const {
  if (best_.empty()) return;
  diagnostics.best_cost = stacked(best_);
  diagnostics.effective_samples =
      at::nan_to_num(stacked(concentration_).squeeze(-1).reciprocal(), 0.0, 0.0, 0.0);
  diagnostics.spread = stacked(spread_);
  diagnostics.non_finite = stacked(non_finite_);
  diagnostics.survivor_cost = stacked(survivor_);
}

}  // namespace foresight::detail
