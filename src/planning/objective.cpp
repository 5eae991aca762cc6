// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/objective.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/core/particles.hpp"
#include "foresight/core/state_type.hpp"

namespace foresight {
namespace {

void check_weight(std::string_view name, double weight) {
  require(std::isfinite(weight), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}': weight = {} must be finite", name, weight));
}

// The value of a term, weighted, [B,S].
Tensor term_value(std::string_view name, double weight, const Tensor& value,
                  const Trajectory& trajectory) {
  const auto& actions = trajectory.actions;
  require(value.defined(), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}' returned an undefined tensor", name));
  check_shape(fmt::format("objective term '{}'", name), value, {actions.size(0), actions.size(1)},
              "[B,S]");
  return weight == 1.0 ? value : value * weight;
}

// [B,S,C].
Tensor constraint_value(std::string_view name, const Tensor& value) {
  require(value.defined() && (value.dim() == 2 || value.dim() == 3),
          ErrorCategory::invalid_argument,
          fmt::format("constraint '{}' must return [B,S] or [B,S,C]", name));
  return value.dim() == 2 ? value.unsqueeze(-1) : value;
}

Tensor plus(const Tensor& sum, const Tensor& value) { return sum.defined() ? sum + value : value; }

Trajectory widened(Trajectory future, at::ScalarType type) {
  future.states = future.states.to(type);
  for (Tensor* values : {&future.rewards, &future.discounts})
    if (values->defined()) *values = values->to(type);
  return future;
}

int64_t bytes_of(const Tensor& tensor, int64_t batch) {
  return tensor.numel() / std::max<int64_t>(1, batch) * static_cast<int64_t>(tensor.element_size());
}

}  // namespace

void Objective::add_part(std::vector<Part>& parts, Part part) {
  require(!part.name.empty(), ErrorCategory::invalid_argument, "objective: a term needs a name");
  require(part.name != kRiskPremium, ErrorCategory::invalid_argument,
          fmt::format("objective: the name '{}' is taken by risk measures", part.name));
  for (const auto* known : {&terms_, &constraints_})
    for (const auto& other : *known)
      require(other.name != part.name, ErrorCategory::invalid_argument,
              fmt::format("objective: '{}' was already added", part.name));
  require(static_cast<bool>(part.term), ErrorCategory::invalid_argument,
          fmt::format("objective term '{}' is empty", part.name));
  check_weight(part.name, part.weight);
  parts.push_back(std::move(part));
}

Objective& Objective::add(std::string name, double weight, CostTerm term, TermView view) {
  add_part(terms_, {std::move(name), weight, std::move(term), view});
  return *this;
}

Objective& Objective::constrain(std::string name, CostTerm constraint, TermView view) {
  if (quick_) check_quick(/*constrained=*/true, risk_);
  add_part(constraints_, {std::move(name), 1.0, std::move(constraint), view});
  return *this;
}

Objective& Objective::reweight(std::string_view name, double weight) {
  check_weight(name, weight);
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

Objective& Objective::set_risk(const RiskOptions& risk) {
  require_valid(risk);
  if (quick_) check_quick(!constraints_.empty(), risk);
  risk_ = risk;
  return *this;
}

Objective& Objective::set_quick_model(std::shared_ptr<const WorldModel> quick, at::ScalarType type,
                                      const RecheckOptions& recheck) {
  require_valid(recheck);
  require(quick != nullptr && at::isFloatingType(type), ErrorCategory::invalid_argument,
          "Objective::set_quick_model needs a model and a floating type");
  check_quick(!constraints_.empty(), risk_);
  quick_ = Quick{std::move(quick), type, recheck};
  return *this;
}

void Objective::check_quick(bool constrained, const RiskOptions& risk) {
  require(!constrained && risk.particles == 1, ErrorCategory::unsupported,
          "objective: a quick model can neither tell which candidates keep constraints nor share "
          "the draws of several rollouts per candidate");
}

std::vector<std::string> Objective::names() const {
  std::vector<std::string> result;
  for (const auto& part : terms_) result.push_back(part.name);
  return result;
}

std::vector<std::string> Objective::constraint_names() const {
  std::vector<std::string> result;
  for (const auto& part : constraints_) result.push_back(part.name);
  return result;
}

Objective& Objective::take_from_goal(std::string task_field, std::string state_field) {
  from_goal_.emplace_back(std::move(task_field), std::move(state_field));
  return *this;
}

std::vector<std::string> Objective::fields_from_goal() const {
  std::vector<std::string> fields;
  for (const auto& [task_field, state_field] : from_goal_) fields.push_back(task_field);
  return fields;
}

std::vector<std::pair<std::string, Tensor>> Objective::goal_fields(const WorldModel& model,
                                                                   const Observation& goal,
                                                                   Noise& noise) const {
  std::vector<std::pair<std::string, Tensor>> fields;
  if (from_goal_.empty()) return fields;
  const auto state = model.observe(model.initial(goal.batch()), {}, goal, noise);
  for (const auto& [task_field, state_field] : from_goal_) {
    require(state.has(state_field), ErrorCategory::unsupported,
            "objective: states of family '" + model.spec().family + "' have no field '" +
                state_field + "', from which a goal's '" + task_field + "' is to come");
    fields.emplace_back(task_field, state.at(state_field));
  }
  return fields;
}

bool Objective::needs(TermView view) const {
  const auto wants = [view](const Part& part) { return part.view == view; };
  return std::any_of(terms_.begin(), terms_.end(), wants) ||
         std::any_of(constraints_.begin(), constraints_.end(), wants);
}

Costs Objective::evaluate(const Trajectory& trajectory, const Task& task) const {
  require(!terms_.empty(), ErrorCategory::invalid_argument, "objective has no terms");
  if (risk_.measure == RiskMeasure::none) return evaluate_plainly(trajectory, task);
  return evaluate_risk(futures_of(trajectory, 1), task);
}

// What a rollout of `rollouts` copies of each candidate gives, in the forms that are asked for.
Objective::Futures Objective::futures_of(Trajectory rolled_out, int64_t rollouts) const {
  Futures futures;
  futures.particles = rollouts * particle_count(rolled_out.states);
  if (needs(TermView::all_particles)) futures.all = gather_particles(rolled_out, rollouts);
  if (needs(TermView::each_particle)) futures.each = spread_particles(rolled_out);
  return futures;
}

Costs Objective::evaluate_plainly(const Trajectory& trajectory, const Task& task) const {
  Costs costs;
  for (const auto& part : terms_) {
    auto value = term_value(part.name, part.weight, part.term(trajectory, task), trajectory);
    costs.total = plus(costs.total, value);
    costs.terms.emplace_back(part.name, std::move(value));
  }
  std::vector<Tensor> constraints;
  for (const auto& part : constraints_)
    constraints.push_back(constraint_value(part.name, part.term(trajectory, task)));
  if (!constraints.empty()) costs.constraint = at::cat(constraints, 2);
  return costs;
}

Costs Objective::evaluate_risk(const Futures& futures, const Task& task) const {
  const auto m = futures.particles;
  const auto split = [m](const Tensor& value) {  // [B,S*M,...] -> [B,S,M,...]
    return value.unflatten(1, {value.size(1) / m, m});
  };
  Costs costs;
  Tensor of_particles, expected;  // [B,S,M], [B,S]
  for (const auto& part : terms_) {
    const auto& seen = futures.of(part.view);
    auto value = term_value(part.name, part.weight, part.term(seen, task), seen);
    if (part.view == TermView::each_particle) {
      const auto particles = split(value);
      of_particles = plus(of_particles, particles);
      value = particles.mean(2);
      expected = plus(expected, value);
    } else {
      costs.total = plus(costs.total, value);
    }
    costs.terms.emplace_back(part.name, std::move(value));
  }
  if (of_particles.defined()) {
    const auto risk = risk_of(of_particles, risk_.measure, risk_);
    costs.total = plus(costs.total, risk);
    if (risk_.measure != RiskMeasure::mean)
      costs.terms.emplace_back(std::string(kRiskPremium), risk - expected);
  }
  std::vector<Tensor> constraints;
  for (const auto& part : constraints_) {
    auto value = constraint_value(part.name, part.term(futures.of(part.view), task));
    if (part.view == TermView::each_particle)
      value = risk_of(split(value).movedim(2, 3), risk_.constraints, risk_);
    constraints.push_back(std::move(value));
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
  const auto sliced = [&](CostFunction whole, const State& from) -> CostFunction {
    if (budget.bytes == 0) return whole;
    return [whole = std::move(whole), &model, from, budget,
            rollouts = risk_.particles](const Tensor& actions) {
      const auto fitting = candidates_within(budget.bytes, model, from, actions.size(2)) / rollouts;
      return in_slices(whole, std::max<int64_t>(1, fitting))(actions);
    };
  };
  auto exact =
      sliced(costs_of([&model, state, &noise](
                          const Tensor& actions) { return model.rollout(state, actions, noise); },
                      task),
             state);
  if (!quick_) return exact;
  const auto narrow = state.to(quick_->type);
  auto quick = sliced(costs_of(
                          [model = quick_->model, narrow, type = floating_type(state),
                           &noise](const Tensor& actions) {
                            return widened(model->rollout(narrow, actions, noise), type);
                          },
                          task),
                      narrow);
  return recheck_survivors(std::move(quick), std::move(exact), quick_->recheck);
}

// The costs of what is imagined for candidates, each several times where the risk measure asks so.
CostFunction Objective::costs_of(Imagine imagine, const Task& task) const {
  return [objective = *this, imagine = std::move(imagine), task,
          rollouts = risk_.particles](const Tensor& actions) {
    if (rollouts == 1) return objective.evaluate(imagine(actions), task);
    require(!objective.empty(), ErrorCategory::invalid_argument, "objective has no terms");
    auto shape = actions.sizes().vec();
    shape.insert(shape.begin() + 2, rollouts);
    const auto repeated = actions.unsqueeze(2).expand(shape).flatten(1, 2);
    return objective.evaluate_risk(objective.futures_of(imagine(repeated), rollouts), task);
  };
}

}  // namespace foresight
