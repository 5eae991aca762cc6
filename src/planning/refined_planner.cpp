// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/refined_planner.hpp"

#include <algorithm>

#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"
#include "infinity.hpp"
#include "verdict.hpp"

namespace foresight {
namespace {

using Clock = Problem::Clock;
using detail::kInfinity;

// The search with its answer evaluated, and with the candidates that the polish starts from; how
// many the next search starts from is restored in kept_for_next().
SamplingOptions searching(const RefinedOptions& options) {
  auto search = options.search;
  search.evaluate_result = true;
  search.carried_elites =
      std::max(search.carried_elites, std::min(options.polish.samples - 1, search.elites));
  return search;
}

Tensor usable_cost(const Plan& plan) {
  return at::nan_to_num(plan.cost, kInfinity, kInfinity, kInfinity);
}

Tensor violation(const Plan& plan) {
  return at::nan_to_num(plan.constraint, kInfinity).clamp_min(0.0).sum(1);
}

// bool [B]: where the second plan is to be preferred.
Tensor improves(const Plan& before, const Plan& after) {
  const auto cheaper = usable_cost(after).lt(usable_cost(before));
  if (!before.constraint.defined() || !after.constraint.defined()) return cheaper;
  const auto was = violation(before), is = violation(after);
  return is.lt(was) | (is.eq(was) & cheaper);
}

void append(Tensor& rows, const Tensor& more) {
  if (more.defined()) rows = rows.defined() ? at::cat({rows, more.to(rows.scalar_type())}) : more;
}

void append(Diagnostics& all, const Diagnostics& more) {
  all.iterations += more.iterations;
  append(all.best_cost, more.best_cost);
  append(all.survivor_cost, more.survivor_cost);
  append(all.spread, more.spread);
  append(all.effective_samples, more.effective_samples);
  append(all.non_finite, more.non_finite);
  all.iteration.insert(all.iteration.end(), more.iteration.begin(), more.iteration.end());
}

void append(Timings& all, const Timings& more) {
  all.cost += more.cost;
  all.slowest_iteration = std::max(all.slowest_iteration, more.slowest_iteration);
}

// The polish as a problem of its own: from the search's answer and its best candidates.
Problem polishing(const Problem& problem, const Plan& found) {
  auto polish = problem;
  polish.warm_start = {found.actions, {}};
  polish.tail = nullptr;
  polish.proposals = find_term(found.warm_start.memory, "elites");
  return polish;
}

// Elites in number as the search's own options have them.
void kept_for_next(WarmStart& next, int64_t carried_elites) {
  for (auto& [name, value] : next.memory)
    if (name == "elites") value = value.narrow(1, 0, std::min(carried_elites, value.size(1)));
  if (carried_elites == 0)
    std::erase_if(next.memory, [](const auto& entry) { return entry.first == "elites"; });
}

// For a plan whose own costs are known: statuses and message of what is returned.
void rejudge(Plan& plan, int64_t planned) {
  const auto& constraint = plan.constraint;
  detail::judge(plan, {.best_cost = usable_cost(plan),
                       .feasible = constraint.defined() ? constraint.le(0).all(1) : Tensor(),
                       .deadline_reached = plan.diagnostics.iterations < planned,
                       .planned_iterations = planned});
}

// A search that took longer than its share left its answer unevaluated.
void evaluate_answer(Plan& plan, const Problem& problem) {
  const auto costs = problem.cost(plan.actions.unsqueeze(1));
  check_costs(costs, problem.batch, 1);
  const auto own =
      detail::picked(costs, at::zeros({problem.batch, 1}, problem.options.dtype(at::kLong)));
  plan.cost = own.total;
  plan.terms = own.terms;
  plan.constraint = own.constraint;
  plan.diagnostics.result_evaluated = true;
}

void keep_better(Plan& plan, const Plan& polished) {
  const auto better = improves(plan, polished);
  plan.actions = detail::choose(better, polished.actions, plan.actions).contiguous();
  const Costs kept = detail::choose(better, {polished.cost, polished.terms, polished.constraint},
                                    {plan.cost, plan.terms, plan.constraint});
  plan.cost = kept.total;
  plan.terms = kept.terms;
  plan.constraint = kept.constraint;
  plan.warm_start.mean = plan.actions;
}

}  // namespace

std::vector<std::string> RefinedOptions::validate() const {
  Rules rules("RefinedOptions");
  rules.nested("search", search.validate())
      .nested("polish", polish.validate())
      .check(search_share > 0 && search_share <= 1, "search_share", search_share,
             "must be in (0, 1]")
      .check(polish.returned == GradientAnswer::best, "polish.returned", enum_name(polish.returned),
             "must be best")
      .check((search.proposal == ProposalKind::categorical) ==
                 (polish.projection == Projection::simplex),
             "polish.projection", enum_name(polish.projection),
             "must be simplex with categorical search, and only with it");
  return rules.problems();
}

RefinedPlanner::RefinedPlanner(RefinedOptions options)
    : options_(std::move(options)), search_(searching(options_)), polish_(options_.polish) {
  require_valid(options_);
}

Plan RefinedPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  WithoutGradients no_gradients;
  const auto start = problem.now();
  auto search = problem;
  if (problem.deadline)
    search.deadline = start + std::chrono::duration_cast<Clock::duration>(
                                  (*problem.deadline - start) * options_.search_share);
  auto plan = search_.solve(search, noise);
  const bool found = plan.status != Status::failed && plan.diagnostics.iterations > 0;
  if (found && !(problem.deadline && problem.now() >= *problem.deadline)) {
    try {
      polish(plan, problem, noise);
    } catch (const std::exception& error) {
      plan.message += std::string("; not polished: ") + error.what();
    }
  }
  kept_for_next(plan.warm_start, options_.search.carried_elites);
  plan.timings.total = std::chrono::duration<double>(problem.now() - start).count();
  return plan;
}

void RefinedPlanner::polish(Plan& plan, const Problem& problem, Noise& noise) const {
  const auto planned = options_.search.iterations + options_.polish.iterations;
  if (!plan.diagnostics.result_evaluated) {
    evaluate_answer(plan, problem);
    rejudge(plan, planned);
  }
  const auto polished = polish_.solve(polishing(problem, plan), noise);
  append(plan.timings, polished.timings);
  if (polished.status == Status::failed) {
    plan.message += "; not polished: " + polished.message;
  } else if (polished.diagnostics.iterations > 0) {
    append(plan.diagnostics, polished.diagnostics);
    keep_better(plan, polished);
    rejudge(plan, planned);
  }
}

WarmStart RefinedPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                  int64_t block) const {
  return search_.advance(last, raw_steps, block);
}

}  // namespace foresight
