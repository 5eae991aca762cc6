// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sharded.hpp"

#include <algorithm>
#include <exception>

#include "foresight/core/error.hpp"

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

}  // namespace

Problem shard_candidates(Problem problem, std::shared_ptr<const Replicas> replicas) {
  require(replicas != nullptr, ErrorCategory::invalid_argument,
          "shard_candidates: replicas = null");
  require(!problem.deadline, ErrorCategory::invalid_argument,
          "shard_candidates: Problem.deadline is set, but replicas that look at different clocks "
          "would stop at different iterations; bound the iterations instead");
  problem.cost = [cost = std::move(problem.cost),
                  replicas = std::move(replicas)](const Tensor& actions) {
    require(
        !(at::GradMode::is_enabled() && actions.requires_grad()), ErrorCategory::unsupported,
        "shard_candidates: gradients of sharded costs are not implemented; plan by sampling, or "
        "shard the problems B instead");
    const auto samples = actions.size(1), count = replicas->count(), rank = replicas->rank();
    const auto first = samples * rank / count, last = samples * (rank + 1) / count;
    // With fewer candidates than replicas a part may be empty. Evaluating one all the same tells
    // the names of the terms; it is not counted.
    const auto from = std::min(first, samples - 1);
    const auto mine =
        evaluate_part(cost, actions.narrow(1, from, std::max<int64_t>(last - first, 1)), *replicas);
    const auto columns = as_columns(mine);
    // Exact whatever the order of the sum: one number and zeros.
    auto all = at::zeros({actions.size(0), samples, columns.size(2)}, columns.options());
    all.narrow(1, first, last - first).copy_(columns.narrow(1, 0, last - first));
    return from_columns(replicas->sum(all), mine);
  };
  return problem;
}

}  // namespace foresight
