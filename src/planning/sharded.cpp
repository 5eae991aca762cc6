// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sharded.hpp"

#include <c10/core/GradMode.h>

#include <algorithm>
#include <exception>

#include "foresight/core/error.hpp"
#include "foresight/core/replica_part.hpp"

namespace foresight {
namespace {

// Total, terms and constraints side by side: [B,n,1+K+C].
Tensor as_columns(const Costs& costs) {
  std::vector<Tensor> columns{costs.total.unsqueeze(-1)};
  for (const auto& [name, value] : costs.terms)
    columns.push_back(value.to(costs.total.scalar_type()).unsqueeze(-1));
  if (costs.constraint.defined()) columns.push_back(costs.constraint.to(costs.total.scalar_type()));
  return at::cat(columns, -1);
}

// The reverse, with the names of `like`.
Costs from_columns(const Tensor& columns, const Costs& like) {
  Costs costs;
  costs.total = columns.select(-1, 0);
  int64_t column = 1;
  for (const auto& [name, value] : like.terms)
    costs.terms.emplace_back(name, columns.select(-1, column++));
  if (like.constraint.defined()) costs.constraint = columns.slice(-1, column);
  return costs;
}

// Evaluates one part. All replicas hear of a failure in any of them, because they would wait in
// vain for its costs.
Costs evaluate_part(const CostFunction& cost, const Tensor& part, const Replicas& replicas) {
  Costs costs;
  std::exception_ptr problem;
  try {
    costs = cost(part);
    check_costs(costs, part.size(0), part.size(1));
  } catch (...) {
    problem = std::current_exception();
  }
  const auto failures = replicas.sum(at::full({1}, problem ? 1.0 : 0.0)).item<double>();
  if (problem) std::rethrow_exception(problem);
  require(failures == 0, ErrorCategory::invalid_argument,
          "shard_candidates: the cost function threw in another replica");
  return costs;
}

// `actions` themselves, whose gradient is that of all candidates: a replica's own costs depend on
// its part only. The gradient that arrives is counted in every replica, since summing costs adds
// up the gradients of all of them, which are equal.
Tensor with_gradients_of_all(const Tensor& actions,
                             const std::shared_ptr<const Replicas>& replicas) {
  if (!c10::GradMode::is_enabled() || !actions.requires_grad()) return actions;
  const auto shared = actions.view_as(actions);
  shared.register_hook([replicas](const Tensor& gradient) {
    return replicas->sum(gradient) / static_cast<double>(replicas->count());
  });
  return shared;
}

// The costs of all candidates, of which this replica evaluates a part.
Costs evaluate_together(const CostFunction& cost, const Tensor& actions,
                        const std::shared_ptr<const Replicas>& replicas) {
  const auto samples = actions.size(1);
  const auto part = part_of(samples, replicas->rank(), replicas->count());
  // With fewer candidates than replicas a part may be empty. Evaluating one all the same tells the
  // names of the terms; it is not counted.
  const auto from = std::min(part.first, samples - 1), count = std::max<int64_t>(part.count, 1);
  const auto mine = evaluate_part(
      cost, with_gradients_of_all(actions, replicas).narrow(1, from, count), *replicas);
  // Exact whatever the order of the sum: one number and zeros.
  const auto all = at::constant_pad_nd(as_columns(mine).narrow(1, 0, part.count),
                                       {0, 0, part.first, samples - part.first - part.count});
  return from_columns(replicas->sum(all), mine);
}

using Clock = Problem::Clock;

// Rank 0's value, everywhere.
int64_t of_rank_0(const Replicas& replicas, int64_t value) {
  return replicas.sum(at::full({1}, replicas.rank() == 0 ? value : 0, at::kLong)).item<int64_t>();
}

Clock::time_point of_rank_0(const Replicas& replicas, Clock::time_point time) {
  return Clock::time_point(Clock::duration(of_rank_0(replicas, time.time_since_epoch().count())));
}

}  // namespace

Problem shard_candidates(Problem problem, std::shared_ptr<const Replicas> replicas) {
  require(replicas != nullptr, ErrorCategory::invalid_argument,
          "shard_candidates: replicas = null");
  const auto hurried =
      replicas->sum(at::full({1}, problem.deadline ? 1 : 0, at::kLong)).item<int64_t>();
  require(hurried == 0 || hurried == replicas->count(), ErrorCategory::invalid_argument,
          "shard_candidates: Problem.deadline is set in " + std::to_string(hurried) + " of " +
              std::to_string(replicas->count()) + " replicas, expected in all or none");
  if (problem.deadline) {
    problem.deadline = of_rank_0(*replicas, *problem.deadline);
    problem.now = [now = std::move(problem.now), replicas] {
      const auto here = now();
      try {
        return of_rank_0(*replicas, here);
      } catch (const std::exception&) {  // a planner's clock cannot fail; its next cost will
        return here;
      }
    };
  }
  problem.cost = [cost = std::move(problem.cost), replicas](const Tensor& actions) {
    return evaluate_together(cost, actions, replicas);
  };
  return problem;
}

}  // namespace foresight
