// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/gradient_planner.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/core/memory.hpp"
#include "foresight/core/without_gradients.hpp"
#include "gradient_search.hpp"
#include "verdict.hpp"
#include "warm_start.hpp"

namespace foresight {
namespace {

// Runs a search so that nothing escapes it and the timings are filled in.
template <class Body>
Plan guarded(const Problem& problem, detail::GradientSearch& search, Body&& body) {
  const auto start = problem.now();
  Plan plan;
  try {
    body(plan);
  } catch (const std::exception& error) {
    detail::give_up(plan, error.what(), search.fallback());
  } catch (...) {
    detail::give_up(plan, "something that is not a std::exception was thrown", search.fallback());
  }
  plan.timings.total = std::chrono::duration<double>(problem.now() - start).count();
  plan.timings.cost = search.cost_seconds();
  plan.timings.slowest_iteration = search.slowest();
  return plan;
}

}  // namespace

std::vector<std::string> GradientOptions::validate() const {
  Rules rules("GradientOptions");
  rules.at_least("samples", static_cast<double>(samples), 1)
      .at_least("iterations", static_cast<double>(iterations), 1)
      .positive("learning_rate", learning_rate)
      .positive("epsilon", epsilon)
      .check(beta1 >= 0 && beta1 < 1, "beta1", beta1, "must be in [0, 1)")
      .check(beta2 >= 0 && beta2 < 1, "beta2", beta2, "must be in [0, 1)")
      .within("weight_decay", weight_decay, 0)
      .within("initial_std", initial_std, 0)
      .within("step_noise", step_noise, 0)
      .within("clip_norm", clip_norm, 0)
      .at_least("max_candidates", static_cast<double>(max_candidates), 0);
  rules.check(max_candidates == 0 || clip_scope == ClipScope::sample || clip_norm == 0,
              "max_candidates", static_cast<double>(max_candidates),
              "must be 0 with clip_scope = batch");
  return rules.problems();
}

GradientPlanner::GradientPlanner(GradientOptions options) : options_(options) {
  require_valid(options_);
  keep_freed_memory();
}

Plan GradientPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  WithoutGradients no_gradients;
  detail::GradientSearch search(options_, problem, noise);
  return guarded(problem, search, [&](Plan& plan) {
    int64_t done = 0;
    for (; done < options_.iterations && search.time_to_step(); ++done)
      search.step([](const Costs& costs) { return costs.total.sum(); });
    search.finish(plan, /*by_violation=*/false, done == options_.iterations, options_.iterations);
  });
}

WarmStart GradientPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                   int64_t block) const {
  WarmStart next;
  next.mean = detail::advance_mean(last.mean, raw_steps, block, options_.tail, {0.0});
  return next;
}

std::vector<std::string> LagrangianOptions::validate() const {
  Rules rules("LagrangianOptions");
  rules.nested("inner", inner.validate());
  rules.at_least("outer_iterations", static_cast<double>(outer_iterations), 1)
      .positive("rho", rho)
      .within("rho_scale", rho_scale, 1);
  rules.check(std::isfinite(rho_max) && rho_max >= rho, "rho_max", rho_max,
              "must be >= rho = " + std::to_string(rho));
  return rules.problems();
}

LagrangianPlanner::LagrangianPlanner(LagrangianOptions options) : options_(std::move(options)) {
  require_valid(options_);
}

Plan LagrangianPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  WithoutGradients no_gradients;
  detail::GradientSearch search(options_.inner, problem, noise);
  return guarded(problem, search, [&](Plan& plan) {
    Tensor multipliers =
        options_.keep_multipliers ? find_term(problem.warm_start.memory, "multipliers") : Tensor();
    double rho = options_.rho;
    std::vector<MultiplierUpdate> updates;
    const auto augmented = [&](const Costs& costs) {
      const auto& g = costs.constraint;
      auto loss = costs.total.sum();
      if (!g.defined()) return loss;
      if (!multipliers.defined()) multipliers = at::zeros({g.size(0), g.size(2)}, g.options());
      multipliers = multipliers.to(g.options());  // a warm start may come from another device
      check_shape("multipliers", multipliers, {g.size(0), g.size(2)}, "[B,C]");
      loss = loss + (g * multipliers.unsqueeze(1)).sum();
      return loss + rho * at::relu(g).square().sum();
    };
    bool complete = true;
    for (int64_t outer = 0; outer < options_.outer_iterations && complete; ++outer) {
      search.restart_optimizer();
      for (int64_t inner = 0; inner < options_.inner.iterations && complete; ++inner) {
        complete = search.time_to_step();
        if (complete) search.step(augmented);
      }
      if (!complete) break;
      if (!search.time_to_evaluate()) {  // nor to go on after it
        complete = outer + 1 == options_.outer_iterations;
        break;
      }
      const auto g = search.evaluate().constraint;
      if (g.defined()) {
        const auto finite = at::nan_to_num(g, 0.0, 0.0, 0.0);
        multipliers = (multipliers + rho * finite.mean(1)).clamp_min(0.0);
        if (options_.inner.record == PlannerRecord::everything)
          updates.push_back({g, multipliers, rho});
      }
      rho = std::min(options_.rho_max, rho * options_.rho_scale);
    }
    search.finish(plan, options_.returned == LagrangianAnswer::feasible, complete,
                  options_.outer_iterations * options_.inner.iterations);
    plan.diagnostics.multiplier_updates = std::move(updates);
    if (options_.keep_multipliers && multipliers.defined())
      plan.warm_start.memory.emplace_back("multipliers", multipliers);
  });
}

WarmStart LagrangianPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                     int64_t block) const {
  WarmStart next;
  next.mean = detail::advance_mean(last.mean, raw_steps, block, options_.inner.tail, {0.0});
  const auto length = last.mean.defined() ? last.mean.size(1) * block : 0;
  for (const auto& [name, value] : last.memory)  // multipliers
    next.memory.emplace_back(
        name, detail::renewed(value, at::zeros({}, value.options()), raw_steps, length));
  return next;
}

GradientOptions pgd() {
  return {.samples = 100,
          .iterations = 30,
          .optimizer = ActionOptimizer::sgd,
          .learning_rate = 1.0,
          .initial_std = 1.0,
          .projection = Projection::simplex,
          .returned = GradientAnswer::best};
}

Tensor project_to_simplex(const Tensor& values) {
  const auto count = values.size(-1);
  const auto sorted = std::get<0>(values.sort(-1, /*descending=*/true));
  const auto excess = sorted.cumsum(-1) - 1.0;
  const auto rank = at::arange(1, count + 1, values.options());
  // rho: how many of the largest stay positive, at least one.
  const auto support = (sorted - excess / rank).gt(0).sum(-1, /*keepdim=*/true).clamp_min(1);
  const auto threshold = excess.gather(-1, support - 1) / support.to(values.scalar_type());
  return (values - threshold).clamp_min(0.0);
}

}  // namespace foresight
