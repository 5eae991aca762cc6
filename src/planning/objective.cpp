// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/objective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

Tensor checked(const Tensor& value, const Tensor& actions, std::string_view name) {
  require(value.defined(), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}' returned an undefined tensor", name));
  check_shape(fmt::format("objective term '{}'", name), value, {actions.size(0), actions.size(1)},
              "[B,S]");
  return value;
}

int64_t bytes_of(const Tensor& tensor, int64_t batch) {
  return tensor.numel() / std::max<int64_t>(1, batch) * static_cast<int64_t>(tensor.element_size());
}

}  // namespace

void Objective::check_name(const std::string& name) const {
  require(!name.empty(), ErrorCategory::invalid_argument, "objective: a term needs a name");
  for (const auto* parts : {&terms_, &constraints_})
    for (const auto& part : *parts)
      require(part.name != name, ErrorCategory::invalid_argument,
              fmt::format("objective: '{}' was already added", name));
}

Objective& Objective::add(std::string name, double weight, CostTerm term) {
  check_name(name);
  require(static_cast<bool>(term), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}' is empty", name));
  require(std::isfinite(weight), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}': weight = {} must be finite", name, weight));
  terms_.push_back({std::move(name), weight, std::move(term)});
  return *this;
}

Objective& Objective::constrain(std::string name, CostTerm constraint) {
  check_name(name);
  require(static_cast<bool>(constraint), ErrorCategory::invalid_argument,
          fmt::format("constraint '{}' is empty", name));
  constraints_.push_back({std::move(name), 1.0, std::move(constraint)});
  return *this;
}

Objective& Objective::reweight(std::string_view name, double weight) {
  require(std::isfinite(weight), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}': weight = {} must be finite", name, weight));
  for (auto& part : terms_) {
    if (part.name != name) continue;
    part.weight = weight;
    return *this;
  }
  const auto suggestion = nearest_name(name, names());
  throw Error(ErrorCategory::not_found,
              fmt::format("objective has no term '{}'{}", name,
                          suggestion.empty() ? "" : ", did you mean '" + suggestion + "'?"));
}

std::vector<std::string> Objective::names() const {
  std::vector<std::string> result;
  for (const auto& part : terms_) result.push_back(part.name);
  return result;
}

Costs Objective::evaluate(const Trajectory& trajectory, const Task& task) const {
  require(!terms_.empty(), ErrorCategory::invalid_argument, "objective has no terms");
  Costs costs;
  for (const auto& part : terms_) {
    auto value = checked(part.term(trajectory, task), trajectory.actions, part.name);
    if (part.weight != 1.0) value = value * part.weight;
    costs.total = costs.total.defined() ? costs.total + value : value;
    costs.terms.emplace_back(part.name, std::move(value));
  }
  std::vector<Tensor> constraints;
  for (const auto& part : constraints_) {
    auto value = part.term(trajectory, task);
    require(value.defined() && (value.dim() == 2 || value.dim() == 3),
            ErrorCategory::invalid_argument,
            fmt::format("constraint '{}' must return [B,S] or [B,S,C]", part.name));
    constraints.push_back(value.dim() == 2 ? value.unsqueeze(-1) : value);
  }
  if (!constraints.empty()) costs.constraint = at::cat(constraints, 2);
  return costs;
}

int64_t candidates_within(int64_t bytes, const WorldModel& model, const State& state,
                          int64_t horizon) {
  const auto& spec = model.spec();
  const auto batch = state.batch_shape().at(0);
  int64_t per_candidate = horizon * spec.action.width() * 4;
  for (const auto& [name, value] : state.fields()) {
    const auto size = bytes_of(value, batch);
    per_candidate += 2 * size;
    if (std::find(spec.imagined.begin(), spec.imagined.end(), name) != spec.imagined.end())
      per_candidate += horizon * size;
  }
  return std::max<int64_t>(1, bytes / std::max<int64_t>(1, per_candidate * batch));
}

CostFunction Objective::cost_function(const WorldModel& model, State state, Noise& noise, Task task,
                                      RolloutBudget budget) const {
  require(state.batch_dims() == 1 && !state.empty(), ErrorCategory::invalid_argument,
          "cost_function starts from a non-empty state of batch shape [B]");
  require(task.empty() || task.batch_shape() == state.batch_shape(),
          ErrorCategory::invalid_argument,
          fmt::format("task has batch {}, the state {}", shape_string(task.batch_shape()),
                      shape_string(state.batch_shape())));
  require(budget.bytes >= 0, ErrorCategory::invalid_argument,
          fmt::format("RolloutBudget.bytes = {} must be >= 0", budget.bytes));
  CostFunction whole = [objective = *this, &model, state, &noise, task](const Tensor& actions) {
    return objective.evaluate(model.rollout(state, actions, noise), task);
  };
  if (budget.bytes == 0) return whole;
  return
      [whole = std::move(whole), &model, state = std::move(state), budget](const Tensor& actions) {
        return in_slices(whole,
                         candidates_within(budget.bytes, model, state, actions.size(2)))(actions);
      };
}

}  // namespace foresight
