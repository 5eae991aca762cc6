// SPDX-License-Identifier: Apache-2.0
// The analytic costs of the planner fixtures, and problems built from a fixture's own settings.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "foresight/planning/plan.hpp"
#include "golden.hpp"
#include "golden_planner.hpp"

namespace foresight {

/// [B,S,H,A] -> raw actions [B,S,N,2], through the table of symbols where the cost has one.
inline Tensor raw_actions(const Tensor& actions, const nlohmann::json& cost) {
  const auto batch = actions.size(0), samples = actions.size(1);
  if (!cost.contains("table")) return actions.reshape({batch, samples, -1, 2});
  std::vector<double> flat;
  for (const auto& row : cost.at("table"))
    for (const auto& value : row) flat.push_back(value);
  const auto symbols = static_cast<int64_t>(cost.at("table").size());
  const auto table = at::tensor(flat, at::kDouble).reshape({symbols, 2}).to(actions.options());
  return at::matmul(actions.reshape({batch, samples, -1, symbols}), table);
}

/// v_t = v_{t-1} + dt a_t; p_t = p_{t-1} + dt v_t; the goal at every step and, tenfold, at the end.
/// Positions [B,S,N,2] and the cost.
inline std::pair<Tensor, Tensor> double_integrator(const Tensor& raw, const Tensor& x0,
                                                   const Tensor& goal, double dt, double scale) {
  auto p = x0.narrow(1, 0, 2).unsqueeze(1).expand({-1, raw.size(1), -1});
  auto v = x0.narrow(1, 2, 2).unsqueeze(1).expand({-1, raw.size(1), -1});
  const auto g = goal.unsqueeze(1);
  auto cost = at::zeros({raw.size(0), raw.size(1)}, raw.options());
  std::vector<Tensor> positions;
  for (int64_t t = 0; t < raw.size(2); ++t) {
    const auto a = raw.select(2, t);
    v = v + dt * a;
    p = p + dt * v;
    positions.push_back(p);
    cost = cost + (p - g).square().sum(-1) + 0.1 * v.square().sum(-1) + 0.01 * a.square().sum(-1);
  }
  return {at::stack(positions, 2), scale * (cost + 10 * (p - g).square().sum(-1))};
}

/// p_t = p_{t-1} + 0.25 tanh(a_t) among Gaussian bumps. Positions [B,S,N,2] and the cost.
inline std::pair<Tensor, Tensor> obstacle_course(const Tensor& raw, const Tensor& x0,
                                                 const Tensor& goal,
                                                 const nlohmann::json& settings) {
  auto p = x0.unsqueeze(1).expand({-1, raw.size(1), -1});
  auto cost = at::zeros({raw.size(0), raw.size(1)}, raw.options());
  std::vector<Tensor> positions;
  for (int64_t t = 0; t < raw.size(2); ++t) {
    const auto a = raw.select(2, t);
    p = p + 0.25 * at::tanh(a);
    positions.push_back(p);
    cost = cost + 0.02 * a.square().sum(-1);
    for (const auto& centre : settings.at("centres")) {
      const auto c = at::tensor({centre[0].get<double>(), centre[1].get<double>()}, at::kDouble)
                         .to(raw.options());
      cost = cost + 6 * at::exp(-(p - c).square().sum(-1) / (2 * 0.35 * 0.35));
    }
  }
  cost = cost + 4 * (p - goal.unsqueeze(1)).square().sum(-1);
  return {at::stack(positions, 2), settings.at("scale").get<double>() * cost};
}

/// The cost of a planner fixture for one of its cases; `x0` and `goal` are the case's.
inline CostFunction reference_cost(const nlohmann::json& settings, const Tensor& x0,
                                   const Tensor& goal) {
  return [settings, x0, goal](const Tensor& actions) {
    const auto raw = raw_actions(actions, settings);
    Costs costs;
    auto [positions, total] =
        settings.at("name") == "double_integrator"
            ? double_integrator(raw, x0, goal, settings.at("dt"), settings.at("scale"))
            : obstacle_course(raw, x0, goal, settings);
    costs.total = total;
    if (settings.contains("constraints")) {
      const auto& limits = settings.at("constraints");
      const auto centre =
          at::tensor({limits.at("centre")[0].get<double>(), limits.at("centre")[1].get<double>()},
                     at::kDouble)
              .to(raw.options());
      const double radius = limits.at("radius");
      const auto effort = raw.square().sum({2, 3}) - limits.at("budget").get<double>();
      const auto clearance = (radius * radius - (positions - centre).square().sum(-1)).amax(2);
      costs.constraint = at::stack({effort, clearance}, 2);
    }
    return costs;
  };
}

/// Problem of one case, searched in `type`: sizes, cost, warm start. Limits are set when `bounded`.
inline Problem reference_problem(const Golden& golden, const nlohmann::json& item,
                                 const std::string& inputs, bool bounded, at::ScalarType type) {
  const auto& cost = golden.config().at("cost");
  auto problem = golden_problem(type);
  problem.batch = item.at("n_envs");
  problem.horizon = item.at("horizon");
  problem.action.block = item.at("action_block");
  if (cost.contains("table")) {
    problem.action.dim = static_cast<int64_t>(cost.at("table").size());
    problem.action.discrete = true;
  } else {
    problem.action.dim = 2;
  }
  if (bounded && !problem.action.discrete) {
    problem.action.low = item.at("action_low").get<std::vector<double>>();
    problem.action.high = item.at("action_high").get<std::vector<double>>();
  }
  problem.cost =
      reference_cost(cost, golden.input(inputs + "x0", type), golden.input(inputs + "goal", type));
  const std::string warm = inputs + "init_action";
  if (golden.has("inputs/" + warm) && golden.input(warm).is_floating_point())
    problem.warm_start.mean = golden.input(warm, type);
  return problem;
}

/// One recorded quantity of every iteration, stacked.
template <class Pick>
Tensor per_iteration(const Plan& plan, Pick&& pick) {
  std::vector<Tensor> rows;
  for (const auto& record : plan.diagnostics.iteration) rows.push_back(pick(record));
  return at::stack(rows);
}

/// What the best candidate that did not survive costs more than the worst that did, by iteration
/// [I,B].
inline Tensor selection_gap(const Plan& plan) {
  return per_iteration(plan, [](const auto& r) {
    const auto ranked = std::get<0>(r.costs.sort(1));
    const auto k = r.survivors.size(1);
    return ranked.select(1, k) - ranked.select(1, k - 1);
  });
}

}  // namespace foresight
