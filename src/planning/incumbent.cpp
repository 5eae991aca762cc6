// SPDX-License-Identifier: Apache-2.0
#include "incumbent.hpp"

#include "verdict.hpp"

namespace foresight::detail {

void Incumbent::meet(const Ranking& ranking, const Selection& selection, const Tensor& survivors,
                     const Tensor& actions, const Costs& costs) {
  Tensor plan;
  if (survivors.defined() && !ranking.violation.defined()) {
    index_ = selection.index.narrow(1, 0, 1);
    last_cost_ = selection.cost.select(1, 0);
    plan = survivors.select(1, 0);
  } else if (!ranking.violation.defined()) {
    std::tie(last_cost_, index_) = ranking.cost.min(1, /*keepdim=*/true);
    last_cost_ = last_cost_.squeeze(1);
    plan = rows_at(actions, index_).squeeze(1);
  } else {
    index_ = UniformUpdate().select(ranking, 1).index;
    last_cost_ = ranking.cost.gather(1, index_).squeeze(1);
    plan = rows_at(actions, index_).squeeze(1);
  }
  const auto violation =
      ranking.violation.defined() ? ranking.violation.gather(1, index_).squeeze(1) : Tensor();
  if (!cost_.defined()) {
    cost_ = last_cost_;
    plan_ = plan;
    violation_ = violation;
    keep_costs(costs, {});
    return;
  }
  auto better = last_cost_.lt(cost_);
  if (violation.defined()) better = violation.lt(violation_) | (violation.eq(violation_) & better);
  cost_ = at::where(better, last_cost_, cost_);
  plan_ = choose(better, plan, plan_);
  if (violation.defined()) violation_ = at::where(better, violation, violation_);
  keep_costs(costs, better);
}

void Incumbent::keep_costs(const Costs& costs, const Tensor& better) {
  if (keep_ == KeepCosts::no && !costs.constraint.defined()) return;
  const auto now = picked(costs, index_);
  costs_ = better.defined() ? choose(better, now, costs_) : now;
}

}  // namespace foresight::detail
