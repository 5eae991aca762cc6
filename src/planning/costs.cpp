// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/costs.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

Costs joined(const std::vector<Costs>& parts) {
  const auto cat = [&](auto&& pick) {
    std::vector<Tensor> tensors;
    for (const auto& part : parts) tensors.push_back(pick(part));
    return at::cat(tensors, 1);
  };
  Costs all;
  all.total = cat([](const Costs& c) { return c.total; });
  for (std::size_t i = 0; i < parts.front().terms.size(); ++i)
    all.terms.emplace_back(parts.front().terms[i].first,
                           cat([&](const Costs& c) { return c.terms.at(i).second; }));
  if (parts.front().constraint.defined())
    all.constraint = cat([](const Costs& c) { return c.constraint; });
  return all;
}

}  // namespace

Tensor find_term(const Terms& terms, std::string_view name) {
  for (const auto& [term, value] : terms)
    if (term == name) return value;
  return {};
}

Tensor worst_violation(const Tensor& constraint) {
  if (!constraint.defined()) return {};
  require(constraint.dim() >= 1 && constraint.size(-1) >= 1, ErrorCategory::invalid_argument,
          fmt::format("worst_violation: constraints have shape {}, expected [...,C]",
                      shape_string(constraint.sizes())));
  constexpr auto kBroken = std::numeric_limits<double>::infinity();
  return at::nan_to_num(constraint, kBroken, kBroken).amax(-1).clamp_min(0.0);
}

CostFunction in_slices(CostFunction cost, int64_t max_candidates) {
  require(max_candidates >= 0, ErrorCategory::invalid_argument,
          fmt::format("in_slices: max_candidates = {} must be >= 0", max_candidates));
  if (max_candidates == 0) return cost;
  return [cost = std::move(cost), max_candidates](const Tensor& actions) {
    const auto samples = actions.size(1);
    if (samples <= max_candidates) return cost(actions);
    std::vector<Costs> parts;
    for (int64_t first = 0; first < samples; first += max_candidates)
      parts.push_back(cost(actions.narrow(1, first, std::min(max_candidates, samples - first))));
    return joined(parts);
  };
}

void check_costs(const Costs& costs, int64_t batch, int64_t samples) {
  check_shape("cost", costs.total, {batch, samples}, "[B,S]");
  require(at::isFloatingType(costs.total.scalar_type()), ErrorCategory::invalid_argument,
          fmt::format("cost has dtype {}, expected a floating one",
                      c10::toString(costs.total.scalar_type())));
  for (const auto& [name, value] : costs.terms)
    check_shape(fmt::format("cost term '{}'", name), value, {batch, samples}, "[B,S]");
  if (costs.constraint.defined())
    check_shape("constraint", costs.constraint, {batch, samples, kAny}, "[B,S,C]");
}

}  // namespace foresight
