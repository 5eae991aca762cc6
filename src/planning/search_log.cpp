// SPDX-License-Identifier: Apache-2.0
#include "search_log.hpp"

namespace foresight::detail {
namespace {

// Weights are 0 wherever a cost is infinite.
Tensor weighted_cost(const Tensor& cost, const Tensor& weight) {
  return (at::nan_to_num(cost, 0.0, 0.0, 0.0) * weight).sum(-1);
}

}  // namespace

void SearchLog::add(const Ranking& ranking, const Tensor& best, const Selection& selection,
                    const Tensor& spread) {
  best_.push_back(best);
  weight_.push_back(selection.weight);
  cost_.push_back(selection.cost);
  concentration_.push_back(selection.concentration);
  spread_.push_back(spread);
  non_finite_.push_back(ranking.cost.isinf().sum(1));
}

Tensor SearchLog::last_survivor_cost() const { return weighted_cost(cost_.back(), weight_.back()); }

void SearchLog::stack(Diagnostics& diagnostics) const {
  if (best_.empty()) return;
  diagnostics.best_cost = at::stack(best_);
  diagnostics.effective_samples =
      at::nan_to_num(at::stack(concentration_).squeeze(-1).reciprocal(), 0.0, 0.0, 0.0);
  diagnostics.spread = at::stack(spread_);
  diagnostics.non_finite = at::stack(non_finite_);
  std::vector<Tensor> means;  // populations may shrink from iteration to iteration
  for (std::size_t i = 0; i < weight_.size(); ++i)
    means.push_back(weighted_cost(cost_[i], weight_[i]));
  diagnostics.survivor_cost = at::stack(means);
}

}  // namespace foresight::detail
