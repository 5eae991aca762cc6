// SPDX-License-Identifier: Apache-2.0
// Planning problems whose answers are known, for tests of planners.
#pragma once

#include "foresight/planning/problem.hpp"

namespace foresight::testing {

/// What the test problems act with.
enum class Actions { continuous, discrete };

/// Where the cost of quadratic_problem() is zero, [B,H,A]: within +-1, or one-hot symbols.
inline Tensor quadratic_target(int64_t batch, int64_t horizon,
                               Actions actions = Actions::continuous) {
  if (actions == Actions::continuous)
    return at::sin(at::arange(batch * horizon * 2, at::kFloat) * 0.7).reshape({batch, horizon, 2});
  const auto symbols = (at::arange(batch * horizon * 2) * 7).remainder(4);
  return at::one_hot(symbols, 4).to(at::kFloat).reshape({batch, horizon, 8});
}

/// Sum of squared distances to `target` [B,H,A], also as the term "distance".
inline CostFunction quadratic_cost(const Tensor& target, double scale = 1.0) {
  return [target, scale](const Tensor& actions) {
    Costs costs;
    costs.total = (actions - target.unsqueeze(1)).square().sum({2, 3}) * scale;
    costs.terms.emplace_back("distance", costs.total);
    return costs;
  };
}

/// B problems with different targets. Continuous: two dimensions within +-2. Discrete: two of four
/// symbols a block.
inline Problem quadratic_problem(int64_t batch, int64_t horizon, double scale = 1.0,
                                 Actions actions = Actions::continuous) {
  Problem problem;
  problem.batch = batch;
  problem.horizon = horizon;
  if (actions == Actions::discrete) {
    problem.action.dim = 4;
    problem.action.block = 2;
    problem.action.discrete = true;
  } else {
    problem.action.dim = 2;
    problem.action.low = {-2.0, -2.0};
    problem.action.high = {2.0, 2.0};
  }
  problem.cost = quadratic_cost(quadratic_target(batch, horizon, actions), scale);
  return problem;
}

/// Valleys at -1 (depth 1) and +1.5 (depth 2) of every action; from 0 the slope leads to -1.
inline CostFunction two_valleys() {
  return [](const Tensor& actions) {
    const auto shallow = at::exp(-(actions + 1).square() / 0.5);
    const auto deep = 2.0 * at::exp(-(actions - 1.5).square() / 0.5);
    return Costs{-(shallow + deep).sum({2, 3}), {}, {}};
  };
}

}  // namespace foresight::testing
