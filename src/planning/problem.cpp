// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/problem.hpp"

#include <fmt/format.h>

#include <algorithm>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

void check_positive(std::string_view name, int64_t value) {
  require(value >= 1, ErrorCategory::invalid_argument,
          fmt::format("Problem.{} = {} must be >= 1", name, value));
}

bool all_equal(const std::vector<int64_t>& values) {
  return std::all_of(values.begin(), values.end(), [&](int64_t v) { return v == values.front(); });
}

}  // namespace

WarmStart WarmStart::select(const Tensor& rows) const {
  WarmStart picked;
  const auto take = [&](const Tensor& tensor) {
    return tensor.index_select(0, rows.to(tensor.device()));
  };
  if (mean.defined()) picked.mean = take(mean);
  for (const auto& [name, tensor] : memory) picked.memory.emplace_back(name, take(tensor));
  return picked;
}

void Problem::check() const {
  check_positive("batch", batch);
  check_positive("horizon", horizon);
  require_valid(action);
  require(static_cast<bool>(cost), ErrorCategory::invalid_argument, "Problem.cost is not set");
  const auto type = c10::typeMetaToScalarType(options.dtype());
  require(
      at::isFloatingType(type), ErrorCategory::invalid_argument,
      fmt::format("Problem.options has dtype {}, expected a floating one", c10::toString(type)));
  if (warm_start.mean.defined())
    check_shape("Problem.warm_start.mean", warm_start.mean, {batch, kAny, width()}, "[B,h,A]");
  for (const auto& [name, tensor] : warm_start.memory)
    require(tensor.defined() && tensor.dim() >= 1 && tensor.size(0) == batch,
            ErrorCategory::invalid_argument,
            fmt::format("Problem.warm_start.memory '{}' must have a first axis of B = {}", name,
                        batch));
  if (proposals.defined())
    check_shape("Problem.proposals", proposals, {batch, kAny, horizon, width()}, "[B,N,H,A]");
  if (pinned.defined() && pinned.dim() == 3)
    check_shape("Problem.pinned", pinned, {batch, horizon, width()}, "[B,H,A]");
  else if (pinned.defined())
    check_shape("Problem.pinned", pinned, {horizon, width()}, "[H,A]");
}

Tensor advance_plan(const Tensor& plan, const std::vector<int64_t>& raw_steps, int64_t block,
                    Tail tail) {
  if (!plan.defined()) return {};
  check_shape("plan", plan, {kAny, kAny, kAny}, "[B,h,A]");
  const auto batch = plan.size(0), rows = plan.size(1), width = plan.size(2);
  require(block >= 1 && width % block == 0, ErrorCategory::invalid_argument,
          fmt::format("advance_plan: block = {} must divide A = {}", block, width));
  require(static_cast<int64_t>(raw_steps.size()) == batch, ErrorCategory::invalid_argument,
          fmt::format("advance_plan: {} raw step counts for B = {}", raw_steps.size(), batch));
  for (const auto steps : raw_steps)
    require(steps >= 0, ErrorCategory::invalid_argument,
            fmt::format("advance_plan: raw_steps = {} must be >= 0", steps));
  const auto total = rows * block;
  if (total == 0 || batch == 0) return {};

  if (all_equal(raw_steps) && raw_steps.front() % block == 0 && tail == Tail::prior) {
    const auto gone = std::min(raw_steps.front() / block, rows);
    return gone == rows ? Tensor() : plan.narrow(1, gone, rows - gone);
  }
  // One gather over the flattened raw sequence; the host knows every index.
  auto index = at::empty({batch, total}, at::kLong);
  auto* out = index.data_ptr<int64_t>();
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t t = 0; t < total; ++t)
      out[b * total + t] = raw_steps[static_cast<std::size_t>(b)] + t;
  index = index.to(plan.device());
  const auto raw = plan.reshape({batch, total, width / block});
  auto moved =
      raw.gather(1, index.clamp_max(total - 1).unsqueeze(-1).expand({batch, total, width / block}));
  if (tail == Tail::prior) moved = moved.masked_fill(index.ge(total).unsqueeze(-1), 0.0);
  return moved.reshape({batch, rows, width});
}

}  // namespace foresight
