// SPDX-License-Identifier: Apache-2.0
// One search in a comparison: how long it took, what it found, and where two of them part.
#pragma once

#include <algorithm>
#include <ctime>
#include <functional>
#include <vector>

#include "foresight/planning/plan.hpp"
#include "measurement.hpp"

namespace foresight::benchmark {

struct Solve {
  double ms = 0, processor_ms = 0;  // the latter of all threads
  Tensor plan;                      // [H,A], on the CPU
  Tensor costs;                     // [I,S], on the CPU
  double elite_cost = 0;            // mean of the last iteration's elites
};

/// Times `work`, which answers with the plan of one problem, recorded with everything, computed on
/// `device`. Throws std::runtime_error unless it is ok.
inline Solve timed_solve(const std::function<Plan()>& work, at::Device device) {
  Solve result;
  Plan plan;
  const auto processor = std::clock();
  result.ms = milliseconds([&] { plan = work(); }, device);
  result.processor_ms = 1e3 * static_cast<double>(std::clock() - processor) / CLOCKS_PER_SEC;
  if (plan.status != Status::ok) throw std::runtime_error(plan.message);
  result.plan = plan.actions[0].to(at::kCPU, at::kFloat);
  std::vector<Tensor> costs;
  for (const auto& record : plan.diagnostics.iteration) costs.push_back(record.costs[0]);
  result.costs = at::stack(costs).to(at::kCPU, at::kDouble);
  result.elite_cost = plan.diagnostics.survivor_cost[-1][0].item<double>();
  return result;
}

/// A Python peer's answer: "ms", "processor_ms", "plan" (flat), "costs" (one list an iteration) and
/// "elite_cost".
inline Solve answered_solve(const nlohmann::json& answer, int64_t horizon) {
  const auto tensor = [](const nlohmann::json& numbers) {
    return at::tensor(numbers.get<std::vector<double>>(), at::kDouble);
  };
  std::vector<Tensor> costs;
  for (const auto& iteration : answer.at("costs")) costs.push_back(tensor(iteration));
  return {answer.at("ms"), answer.at("processor_ms"),
          tensor(answer.at("plan")).to(at::kFloat).reshape({horizon, -1}), at::stack(costs),
          answer.at("elite_cost")};
}

/// Times with the cost of what was found.
inline nlohmann::json solve_row(const std::vector<double>& ms, const Solve& solve) {
  auto result = summary(ms);
  result["elite_cost"] = solve.elite_cost;
  result["processor_ms_of_last"] = solve.processor_ms;
  return result;
}

/// Where two searches part. The first iteration judges the same candidates: how far the costs lie
/// apart there. Elites are a set: the first iteration in which the sets differ, by how many, how
/// far the costs themselves lie apart there, and the gap between the last elite and the first
/// candidate that is none. A gap below the difference is a tie that rounding decides.
inline nlohmann::json compare(const Solve& ours, const Solve& theirs, int64_t elites) {
  nlohmann::json result{
      {"largest_difference_of_plans", (ours.plan - theirs.plan).abs().max().item<double>()},
      {"largest_difference_of_costs", (ours.costs - theirs.costs).abs().max().item<double>()}};
  const auto first = ours.costs[0] - theirs.costs[0];
  result["std_of_differences_in_first_iteration"] = first.std().item<double>();
  result["largest_difference_in_first_iteration"] = first.abs().max().item<double>();
  elites = std::min(elites, ours.costs.size(1));
  for (int64_t i = 0; i < ours.costs.size(0); ++i) {
    const auto a = ours.costs[i], b = theirs.costs[i];
    const auto set = [&](const Tensor& costs) {
      return std::get<0>(costs.argsort().slice(0, 0, elites).sort());
    };
    if (at::equal(set(a), set(b))) continue;
    const auto sorted = std::get<0>(b.sort());
    result["elites_differ_from_iteration"] = i;
    result["elites_that_differ_there"] = elites - at::isin(set(a), set(b)).sum().item<int64_t>();
    result["difference_of_costs_there"] = (a - b).abs().max().item<double>();
    if (elites < b.size(0))
      result["gap_behind_the_elites_there"] = (sorted[elites] - sorted[elites - 1]).item<double>();
    return result;
  }
  result["elites_differ_from_iteration"] = nullptr;
  return result;
}

}  // namespace foresight::benchmark
