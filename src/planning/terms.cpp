// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/terms.hpp"

#include <fmt/format.h>

#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

// Weight of each of H steps, [H].
Tensor step_weights(const GoalDistance& options, int64_t horizon, const at::TensorOptions& to) {
  auto weight = options.steps == Steps::discounted
                    ? at::pow(options.discount, at::arange(horizon, at::kDouble))
                    : at::ones({horizon}, at::kDouble);
  if (options.normalise_steps) weight = weight / weight.sum();
  return weight.to(to);
}

// [B,S,H',P,D] against [B,P,D] -> [B,S,H'].
Tensor distance_per_step(const GoalDistance& options, const Tensor& states, const Tensor& goal) {
  const auto target = goal.unsqueeze(1).unsqueeze(1);
  const auto reduced = [&](const Tensor& x, at::IntArrayRef axes) {
    return options.reduction == Reduction::sum ? x.sum(axes) : x.mean(axes);
  };
  if (options.distance == Distance::cosine) {
    constexpr double kSmallest = 1e-8;  // at::cosine_similarity's own guard
    return reduced(1.0 - at::cosine_similarity(states, target, -1, kSmallest), {3});
  }
  const auto difference = states - target;
  return reduced(options.distance == Distance::l1 ? difference.abs() : difference.square(), {3, 4});
}

// gamma^h times the model's discounts of the steps before h, for h = 0..H: [B,S,H+1] or [H+1].
Tensor running_discount(const Trajectory& trajectory, double gamma) {
  const auto horizon = trajectory.actions.size(2);
  const auto powers = at::pow(gamma, at::arange(horizon + 1, at::kDouble))
                          .to(at::TensorOptions()
                                  .dtype(trajectory.actions.scalar_type())
                                  .device(trajectory.actions.device()));
  if (!trajectory.discounts.defined()) return powers;
  const auto survived = at::cumprod(trajectory.discounts, 2);
  return at::cat({at::ones_like(survived.narrow(2, 0, 1)), survived}, 2) * powers;
}

// How deep [B,S,H,N] is inside each sphere: [B,S,H,Z].
Tensor depth(const KeepOut& zone, const Tensor& positions) {
  const auto dims = static_cast<int64_t>(zone.centres.front().size());
  require(positions.dim() == 4 && positions.size(3) == dims, ErrorCategory::invalid_argument,
          fmt::format("keep_out: positions have shape {}, expected [B,S,H,{}]",
                      shape_string(positions.sizes()), dims));
  std::vector<double> flat;
  for (const auto& centre : zone.centres) flat.insert(flat.end(), centre.begin(), centre.end());
  const auto centres = at::tensor(flat, at::kDouble).reshape({-1, dims}).to(positions.options());
  const auto squared = (positions.unsqueeze(3) - centres).square().sum(-1);
  // The root's gradient at 0 is infinite; a step exactly at a centre gets none instead.
  return zone.radius - at::sqrt(squared.clamp_min(1e-12));
}

KeepOut valid(KeepOut zone, const PositionOf& position) {
  require_valid(zone);
  require(static_cast<bool>(position), ErrorCategory::invalid_argument,
          "keep_out needs a position function");
  return zone;
}

}  // namespace

std::vector<std::string> GoalDistance::validate() const {
  Rules rules("GoalDistance");
  rules.check(std::isfinite(discount) && discount > 0, "discount", discount, "must be positive");
  rules.check(!field.empty(), "field", field, "must name a state field");
  rules.check(!goal.empty(), "goal", goal, "must name a task field");
  return rules.problems();
}

CostTerm goal_distance(GoalDistance options) {
  require_valid(options);
  return [options](const Trajectory& trajectory, const Task& task) {
    auto states = trajectory.states.at(options.field);
    auto goal = task.at(options.goal);
    if (states.dim() == 4) states = states.unsqueeze(3);  // vector fields have no token axis
    if (goal.dim() == 2) goal = goal.unsqueeze(1);
    check_shape("goal", goal, {states.size(0), states.size(3), states.size(4)}, "[B,P,D]");
    const auto horizon = states.size(2);
    if (options.steps == Steps::last)
      return distance_per_step(options, states.narrow(2, horizon - 1, 1), goal).squeeze(2);
    const auto per_step = distance_per_step(options, states, goal);
    return (per_step * step_weights(options, horizon, per_step.options())).sum(2);
  };
}

CostTerm control_effort() {
  return [](const Trajectory& trajectory, const Task&) {
    return trajectory.actions.square().sum({2, 3});
  };
}

CostTerm action_rate(int64_t block) {
  require(block >= 1, ErrorCategory::invalid_argument,
          fmt::format("action_rate: block = {} must be >= 1", block));
  return [block](const Trajectory& trajectory, const Task& task) {
    const auto& actions = trajectory.actions;
    const auto batch = actions.size(0), samples = actions.size(1), horizon = actions.size(2);
    require(actions.size(3) % block == 0, ErrorCategory::invalid_argument,
            fmt::format("action_rate: block = {} must divide A = {}", block, actions.size(3)));
    const auto dim = actions.size(3) / block;
    auto raw = actions.reshape({batch, samples, horizon * block, dim});
    if (task.has(kPreviousAction)) {
      const auto& previous = task.at(kPreviousAction);
      check_shape("task 'previous_action'", previous, {batch, dim}, "[B,dim]");
      raw = at::cat(
          {previous.to(raw.options()).reshape({batch, 1, 1, dim}).expand({batch, samples, 1, dim}),
           raw},
          2);
    }
    return at::diff(raw, 1, 2).square().sum({2, 3});
  };
}

CostTerm negative_return(double gamma) {
  require(std::isfinite(gamma) && gamma >= 0, ErrorCategory::invalid_argument,
          fmt::format("negative_return: gamma = {} must be >= 0", gamma));
  return [gamma](const Trajectory& trajectory, const Task&) {
    require(trajectory.rewards.defined(), ErrorCategory::unsupported,
            "negative_return: the model imagines no rewards");
    const auto discount = running_discount(trajectory, gamma);
    const auto horizon = trajectory.rewards.size(2);
    return -(trajectory.rewards * discount.narrow(-1, 0, horizon)).sum(2);
  };
}

CostTerm terminal_value(std::shared_ptr<const Critic> critic, double gamma) {
  require(critic != nullptr, ErrorCategory::invalid_argument, "terminal_value needs a critic");
  require(std::isfinite(gamma) && gamma >= 0, ErrorCategory::invalid_argument,
          fmt::format("terminal_value: gamma = {} must be >= 0", gamma));
  return [critic = std::move(critic), gamma](const Trajectory& trajectory, const Task&) {
    const auto horizon = trajectory.actions.size(2);
    const auto value = critic->value(trajectory.states.narrow(horizon - 1, 1)).squeeze(2);
    return -value * running_discount(trajectory, gamma).select(-1, horizon);
  };
}

CostTerm latent_cost(std::function<Tensor(const Tensor&)> cost, std::string field) {
  require(static_cast<bool>(cost), ErrorCategory::invalid_argument,
          "latent_cost needs a cost function");
  return [cost = std::move(cost), field = std::move(field)](const Trajectory& trajectory,
                                                            const Task&) {
    return cost(trajectory.states.at(field).flatten(3));
  };
}

std::vector<std::string> KeepOut::validate() const {
  Rules rules("KeepOut");
  rules.check(!centres.empty(), "centres", "[]", "must have at least one centre");
  for (const auto& centre : centres) {
    rules.check(!centre.empty() && centre.size() == centres.front().size(), "centres",
                static_cast<double>(centre.size()), "coordinates, expected the same count for all");
    for (const double x : centre) rules.check(std::isfinite(x), "centres", x, "must be finite");
  }
  rules.check(std::isfinite(radius) && radius > 0, "radius", radius, "must be positive");
  return rules.problems();
}

CostTerm keep_out(KeepOut zone, PositionOf position) {
  zone = valid(std::move(zone), position);
  return [zone, position = std::move(position)](const Trajectory& trajectory, const Task&) {
    return depth(zone, position(trajectory)).clamp_min(0.0).square().sum({2, 3});
  };
}

CostTerm keep_out_constraint(KeepOut zone, PositionOf position) {
  zone = valid(std::move(zone), position);
  return [zone, position = std::move(position)](const Trajectory& trajectory, const Task&) {
    return depth(zone, position(trajectory)).amax({2, 3});
  };
}

}  // namespace foresight
