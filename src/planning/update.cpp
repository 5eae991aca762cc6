// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/update.hpp"

#include <limits>

#include "cpu_loops.hpp"
#include "infinity.hpp"

namespace foresight {
namespace {

using detail::kInfinity;

// The K best, best first: (index, cost).
std::pair<Tensor, Tensor> best(const Ranking& ranking, int64_t survivors) {
  if (!ranking.violation.defined()) {
    if (survivors == 1) {  // min() promises the first of equal values, topk() does not
      const auto [cost, index] = ranking.cost.min(1, /*keepdim=*/true);
      return {index, cost};
    }
    auto [cost, index] = at::topk(ranking.cost, survivors, 1, /*largest=*/false, /*sorted=*/true);
    return {index, cost};
  }
  // Lexicographic by (violation, cost): a stable sort by the second key, then by the first.
  const auto by_cost = at::argsort(ranking.cost, /*stable=*/true, 1, /*descending=*/false);
  const auto by_violation =
      at::argsort(ranking.violation.gather(1, by_cost), /*stable=*/true, 1, /*descending=*/false);
  const auto index = by_cost.gather(1, by_violation).narrow(1, 0, survivors);
  return {index, ranking.cost.gather(1, index)};
}

// Costs in which infeasible candidates are unusable while any feasible one exists, and are ranked
// by their violation otherwise.
Tensor effective_cost(const Ranking& ranking) {
  if (!ranking.violation.defined()) return ranking.cost;
  const auto feasible = ranking.violation.le(0) & ranking.cost.isfinite();
  const auto any = feasible.any(1, /*keepdim=*/true);
  const auto violation =
      ranking.violation.masked_fill(ranking.cost.isfinite().logical_not(), kInfinity);
  return at::where(any, ranking.cost.masked_fill(feasible.logical_not(), kInfinity),
                   violation.to(ranking.cost.scalar_type()));
}

}  // namespace

Selection UniformUpdate::select(const Ranking& ranking, int64_t survivors) const {
  Selection selection;
  if (survivors == 0) {
    selection.cost = ranking.cost;
  } else {
    std::tie(selection.index, selection.cost) = best(ranking, survivors);
  }
  const auto usable = selection.cost.lt(kInfinity);
  const auto count = usable.sum(1, /*keepdim=*/true).to(selection.cost.scalar_type());
  selection.concentration = count.clamp_min(1.0).reciprocal();
  selection.weight = usable * selection.concentration;
  selection.any = count.gt(0);
  return selection;
}

Selection SoftmaxUpdate::select(const Ranking& ranking, int64_t survivors) const {
  Selection selection;
  selection.cost = effective_cost(ranking);
  if (survivors != 0 && survivors < ranking.cost.size(1))
    std::tie(selection.index, selection.cost) = best({selection.cost, {}}, survivors);
  if (rule_ != TemperatureRule::divide_by_spread) {
    const double factor = rule_ == TemperatureRule::multiply ? temperature_ : 1.0 / temperature_;
    detail::softmax_weights(selection.cost, factor, selection);
    return selection;
  }
  // In units of the spread of the usable costs. Infinity - infinity is unusable too.
  const auto lowest = selection.cost.amin(1, /*keepdim=*/true);
  const auto excess = at::nan_to_num(selection.cost - lowest, kInfinity, kInfinity);
  const auto unusable = excess.isinf();
  const auto count = unusable.logical_not().sum(1, /*keepdim=*/true).clamp_min(1);
  const auto mean = excess.masked_fill(unusable, 0.0).sum(1, /*keepdim=*/true) / count;
  const auto centred = (excess - mean).masked_fill(unusable, 0.0);
  const auto spread = at::sqrt(centred.square().sum(1, /*keepdim=*/true) / count);
  detail::softmax_weights(
      excess / (spread * temperature_).clamp_min(std::numeric_limits<float>::min()), 1.0,
      selection);
  return selection;
}

std::shared_ptr<const Update> make_update(const SamplingOptions& options) {
  if (options.weights == WeightKind::uniform) return std::make_shared<UniformUpdate>();
  return std::make_shared<SoftmaxUpdate>(options.temperature, options.temperature_rule);
}

}  // namespace foresight
