// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/problem.hpp"

#include <fmt/format.h>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

void check_positive(std::string_view name, int64_t value) {
  require(value >= 1, ErrorCategory::invalid_argument,
          fmt::format("Problem.{} = {} must be >= 1", name, value));
}

}  // namespace

void Problem::check() const {
  check_positive("batch", batch);
  check_positive("horizon", horizon);
  require_valid(action);
  require(static_cast<bool>(cost), ErrorCategory::invalid_argument, "Problem.cost is not set");
  require(static_cast<bool>(now), ErrorCategory::invalid_argument, "Problem.now is not set");
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
  if (max_step.defined()) {
    require(!action.discrete, ErrorCategory::invalid_argument,
            "Problem.max_step has no meaning for a discrete ActionSpace");
    check_shape("Problem.max_step", max_step, {action.dim}, "[dim]");
    // Not NaN either. The one host read of a check, and only where there are rate limits.
    require(max_step.ge(0).all().item<bool>(), ErrorCategory::invalid_argument,
            "Problem.max_step must be >= 0");
  }
  if (previous_action.defined())
    check_shape("Problem.previous_action", previous_action, {batch, action.dim}, "[B,dim]");
}

}  // namespace foresight
