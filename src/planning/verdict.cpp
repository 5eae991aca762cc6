// SPDX-License-Identifier: Apache-2.0
#include "verdict.hpp"

#include <fmt/format.h>

#include <cmath>
#include <limits>

namespace foresight::detail {
namespace {

// Bits per problem, packed on the device so that one copy tells all.
constexpr int64_t kFinitePlan = 1, kFiniteCost = 2, kFeasible = 4;

void append(std::string& message, const std::string& text) {
  message += (message.empty() ? "" : "; ") + text;
}

}  // namespace

void judge(Plan& plan, const Evidence& evidence) {
  auto flags = plan.actions.isfinite().all(2).all(1).to(at::kLong) * kFinitePlan;
  const bool evaluated = evidence.best_cost.defined();
  if (evaluated) flags = flags + evidence.best_cost.isfinite().to(at::kLong) * kFiniteCost;
  if (evidence.feasible.defined()) flags = flags + evidence.feasible.to(at::kLong) * kFeasible;
  const auto host = flags.cpu();
  const auto* flag = host.data_ptr<int64_t>();
  const auto batch = host.numel();
  int64_t non_finite = 0, infeasible = 0;
  plan.statuses.clear();
  for (int64_t b = 0; b < batch; ++b) {
    auto status = evidence.deadline_reached ? Status::deadline_reached : Status::ok;
    if (!(flag[b] & kFinitePlan) || (evaluated && !(flag[b] & kFiniteCost))) {
      status = Status::non_finite;
      ++non_finite;
    } else if (evidence.feasible.defined() && !(flag[b] & kFeasible)) {
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

Tensor rows_at(const Tensor& values, const Tensor& index) {
  auto shape = values.sizes().vec();
  shape[1] = index.size(1);
  std::vector<int64_t> view{index.size(0), index.size(1)};
  view.resize(shape.size(), 1);
  return values.gather(1, index.reshape(view).expand(shape));
}

Tensor choose(const Tensor& condition, const Tensor& yes, const Tensor& no) {
  std::vector<int64_t> view(static_cast<std::size_t>(yes.dim()), 1);
  view[0] = -1;
  return at::where(condition.reshape(view), yes, no);
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
  return at::nan_to_num(costs.constraint, std::numeric_limits<double>::infinity())
      .clamp_min(0.0)
      .sum(2);
}

}  // namespace foresight::detail
