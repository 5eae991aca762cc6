// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/terms.hpp"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/particles.hpp"

namespace foresight {
namespace {

// Per step [B,S,H] -> [B,S] by the weights of a discounted sum, discount^h.
Tensor discounted_sum(const Tensor& per_step, double discount, bool normalise) {
  const auto horizon = per_step.size(2);
  auto weight = at::pow(discount, at::arange(horizon, per_step.options().dtype(at::kDouble)));
  if (normalise) weight = weight / weight.sum();
  return (per_step * weight.to(per_step.options())).sum(2);
}

// Per step [B,S,h] -> [B,S], where h = 1 if only the last step was asked for.
Tensor over_steps(const Tensor& per_step, const StepWeights& weights) {
  if (weights.steps == Steps::discounted)
    return discounted_sum(per_step, weights.discount, /*normalise=*/false);
  return weights.steps == Steps::last ? per_step.squeeze(2) : per_step.sum(2);
}

// The imagined states that `weights` look at.
State states_that_count(const State& states, const StepWeights& weights) {
  const auto horizon = states.batch_shape().at(2);
  return weights.steps == Steps::last ? states.narrow(horizon - 1, 1) : states;
}

void check_per_step(std::string_view term, const Tensor& value, const Tensor& actions, int64_t h) {
  require(value.defined(), ErrorCategory::invalid_argument,
          fmt::format("{} returned an undefined tensor", term));
  check_shape(term, value, {actions.size(0), actions.size(1), h}, "[B,S,h]");
}

// [B,S,H',P,D] against [B,P,D] -> [B,S,H'].
// In float32 for half types: a sum of hundreds of squares in bfloat16 has steps that are larger
// than what tells candidates apart.
Tensor plain_distance(const GoalDistance& options, const Tensor& given, const Tensor& goal) {
  const auto wide = [](const Tensor& x) {
    return at::isReducedFloatingType(x.scalar_type()) ? x.to(at::kFloat) : x;
  };
  const auto states = wide(given), target = wide(goal).unsqueeze(1).unsqueeze(1);
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

// The same in slices of candidates whose differences fit a processor's cache. Over long futures
// they are tens of megabytes, and writing, faulting in and reading those takes longer than the
// arithmetic.
Tensor distance_per_step(const GoalDistance& options, const Tensor& states, const Tensor& goal) {
  constexpr int64_t kNumbersOfSlice = int64_t{1} << 18;
  const auto samples = states.size(1);
  const auto slice = std::max<int64_t>(1, kNumbersOfSlice * samples / (states.numel() + 1));
  if (c10::GradMode::is_enabled() || !states.device().is_cpu() || slice >= samples)
    return plain_distance(options, states, goal);
  std::vector<Tensor> distances;
  for (const auto& part : states.split(slice, 1))
    distances.push_back(plain_distance(options, part, goal));
  return at::cat(distances, 1);
}

// gamma^h times the model's discounts of the steps before h, for h = 0..H: [B,S,H+1] or [H+1].
Tensor running_discount(const Trajectory& trajectory, double gamma) {
  const auto horizon = trajectory.actions.size(2);
  const auto& to = trajectory.actions.options();
  const auto powers = at::pow(gamma, at::arange(horizon + 1, to.dtype(at::kDouble))).to(to);
  if (!trajectory.discounts.defined()) return powers;
  const auto survived = at::cumprod(trajectory.discounts, 2);
  return at::cat({at::ones_like(survived.narrow(2, 0, 1)), survived}, 2) * powers;
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
    const auto discount = options.steps == Steps::discounted ? options.discount : 1.0;
    return discounted_sum(distance_per_step(options, states, goal), discount,
                          options.normalise_steps);
  };
}

CostTerm goal_distances(std::vector<GoalPart> parts) {
  require(!parts.empty(), ErrorCategory::invalid_option, "goal_distances needs at least one part");
  std::vector<CostTerm> terms;
  for (const auto& part : parts) {
    require(std::isfinite(part.weight) && part.weight >= 0, ErrorCategory::invalid_option,
            fmt::format("goal_distances: weight = {} of field '{}' must be >= 0", part.weight,
                        part.distance.field));
    terms.push_back(goal_distance(part.distance));
  }
  return [parts = std::move(parts), terms = std::move(terms)](const Trajectory& trajectory,
                                                              const Task& task) {
    Tensor sum;
    for (std::size_t i = 0; i < terms.size(); ++i) {
      const auto value = terms[i](trajectory, task) * parts[i].weight;
      sum = sum.defined() ? sum + value : value;
    }
    return sum;
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

std::vector<std::string> StepWeights::validate() const {
  Rules rules("StepWeights");
  rules.check(std::isfinite(discount) && discount > 0, "discount", discount, "must be positive");
  return rules.problems();
}

CostTerm intrinsic_cost(StateCost cost, StepWeights weights) {
  require_valid(weights);
  require(static_cast<bool>(cost), ErrorCategory::invalid_argument,
          "intrinsic_cost needs a cost of states");
  return [cost = std::move(cost), weights](const Trajectory& trajectory, const Task&) {
    const auto states = states_that_count(trajectory.states, weights);
    const auto per_step = cost(states);
    check_per_step("intrinsic_cost", per_step, trajectory.actions, states.batch_shape()[2]);
    return over_steps(per_step, weights);
  };
}

CostTerm cost_to_go(GoalCritic critic, StepWeights weights, std::string field) {
  require_valid(weights);
  require(static_cast<bool>(critic), ErrorCategory::invalid_argument, "cost_to_go needs a critic");
  return [critic = std::move(critic), weights, field = std::move(field)](
             const Trajectory& trajectory, const Task& task) {
    const auto latents = states_that_count(trajectory.states, weights).at(field).flatten(3);
    const auto goals = task.at(kGoal).flatten(1).unsqueeze(1).unsqueeze(1);
    const auto per_step = critic(latents, goals);
    check_per_step("cost_to_go", per_step, trajectory.actions, latents.size(2));
    return over_steps(per_step, weights);
  };
}

CostTerm disagreement(StepWeights weights, std::string field) {
  require_valid(weights);
  return [weights, field = particle_field(field)](const Trajectory& trajectory, const Task&) {
    require(trajectory.states.has(field), ErrorCategory::unsupported,
            fmt::format("disagreement: the trajectory has no '{}'; the model needs several "
                        "particles, and under a risk measure the term TermView::all_particles",
                        field));
    const auto particles = states_that_count(trajectory.states, weights).at(field);
    const auto variance = at::var(particles, at::IntArrayRef{3}, /*unbiased=*/false);
    const auto& shape = variance.sizes();
    return over_steps(variance.reshape({shape[0], shape[1], shape[2], -1}).mean(3), weights);
  };
}

}  // namespace foresight
