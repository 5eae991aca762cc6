// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace foresight::detail {
namespace {

void append(std::string& message, const std::string& text) {
  message += (message.empty() ? "" : "; ") + text;
}

}  // namespace

void judge(Plan& plan, const Evidence& evidence) {
  // One row a question, stacked on the device so that one copy tells all.
  std::vector<Tensor> answers{finite_rows(plan.actions)};
  answers.push_back(evidence.best_cost.defined() ? finite_rows(evidence.best_cost.unsqueeze(1))
                                                 : answers.front());
  if (evidence.feasible.defined()) answers.push_back(evidence.feasible);
  const auto host = at::stack(answers).cpu();
  const auto batch = host.size(1);
  const auto *finite_plan = host.data_ptr<bool>(), *finite_cost = finite_plan + batch,
             *feasible = evidence.feasible.defined() ? finite_cost + batch : nullptr;
  int64_t non_finite = 0, infeasible = 0;
  plan.statuses.clear();
  for (int64_t b = 0; b < batch; ++b) {
    auto status = evidence.deadline_reached ? Status::deadline_reached : Status::ok;
    if (!finite_plan[b] || !finite_cost[b]) {
      status = Status::non_finite;
      ++non_finite;
    } else if (feasible && !feasible[b]) {
      status = Status::infeasible;
      ++infeasible;
    }
    plan.statuses.push_back(status);
  }
  plan.status = worst(plan.statuses);
  plan.message.clear();
  if (evidence.deadline_reached)
    append(plan.message, fmt::format("deadline after {} of {} iterations",
                                     plan.diagnostics.iterations, evidence.planned_iterations));
  if (infeasible > 0)
    append(plan.message, fmt::format("{} of {} problems: the returned plan breaks a constraint",
                                     infeasible, batch));
  if (non_finite > 0)
    append(plan.message,
           fmt::format("{} of {} problems: no finite cost or plan", non_finite, batch));
  if (plan.message.empty())
    plan.message = fmt::format("{} iterations", plan.diagnostics.iterations);
}

void give_up(Plan& plan, const std::string& why, const Tensor& fallback) {
  plan.status = Status::failed;
  plan.statuses.assign(static_cast<std::size_t>(fallback.size(0)), Status::failed);
  plan.message = "planning stopped: " + why;
  plan.actions = fallback.detach().contiguous();
  plan.cost = at::full({fallback.size(0)}, std::nan(""), fallback.options());
}

Tensor choose(const Tensor& condition, const Tensor& yes, const Tensor& no) {
  std::vector<int64_t> view(static_cast<std::size_t>(yes.dim()), 1);
  view[0] = -1;
  return at::where(condition.reshape(view), yes, no);
}

Costs choose(const Tensor& condition, const Costs& yes, const Costs& no) {
  Costs chosen;
  chosen.total = at::where(condition, yes.total, no.total);
  for (std::size_t i = 0; i < yes.terms.size(); ++i)
    chosen.terms.emplace_back(yes.terms[i].first,
                              at::where(condition, yes.terms[i].second, no.terms.at(i).second));
  if (yes.constraint.defined())
    chosen.constraint = choose(condition, yes.constraint, no.constraint);
  return chosen;
}

Costs picked(const Costs& costs, const Tensor& index) {
  Costs one;
  one.total = costs.total.gather(1, index).squeeze(1);
  for (const auto& [name, value] : costs.terms)
    one.terms.emplace_back(name, value.gather(1, index).squeeze(1));
  if (costs.constraint.defined()) one.constraint = rows_at(costs.constraint, index).squeeze(1);
  return one;
}

Tensor violation_of(const Costs& costs) {
  if (!costs.constraint.defined()) return {};
  constexpr auto kInfinity = std::numeric_limits<double>::infinity();
  return at::nan_to_num(costs.constraint, kInfinity)
      .clamp_min(0.0)
      .sum(2)
      .masked_fill(costs.total.isfinite().logical_not(), kInfinity);
}

}  // namespace foresight::detail
