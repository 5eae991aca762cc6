// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sampling_planner.hpp"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"
#include "gaussian_proposal.hpp"
#include "verdict.hpp"

namespace foresight {
namespace {

using Clock = Problem::Clock;
using detail::choose;
using detail::picked;
using detail::rows_at;
using detail::violation_of;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

double seconds_since(Clock::time_point start) {
  return std::chrono::duration<double>(Clock::now() - start).count();
}

// One solve: what SamplingPlanner::solve() keeps between iterations.
class Solve {
 public:
  Solve(const SamplingOptions& options, const ProposalFactory& factory, const Update& update,
        const Problem& problem, Noise& noise)
      : options_(options),
        problem_(problem),
        update_(update),
        noise_(noise),
        limits_(block_limits(problem)),
        cost_(in_slices(problem.cost, options.max_candidates)) {
    start_ = Clock::now();
    if (problem.pinned.defined()) {
      pinned_ = problem.pinned.to(problem.options);
      if (pinned_.dim() == 2) pinned_ = pinned_.unsqueeze(0);
      free_ = pinned_.isnan();
    }
    // The prior is that of what is sampled; symbols have none, and rates count from a plan of
    // zeros.
    const bool of_actions = options.proposal != ProposalKind::categorical &&
                            options.proposal != ProposalKind::action_rates;
    const auto prior =
        of_actions ? per_dimension(options.initial_mean, problem, "SamplingOptions.initial_mean")
                   : at::zeros({problem.width()}, problem.options);
    auto mean = complete_warm_start(problem, prior, options.tail);
    if (pinned_.defined()) mean = at::where(free_, mean, pinned_);
    proposal_ = factory(options, problem, mean);
    kept_ = find_term(problem.warm_start.memory, "elites");
    if (problem.proposals.defined()) proposals_ = problem.proposals.to(problem.options);
  }

  Plan run() {
    Plan plan;
    try {
      int64_t done = 0;
      for (; done < options_.iterations && !out_of_time(); ++done) {
        iteration_start_ = Clock::now();
        iterate(done, plan);
        slowest_ = std::max(slowest_, seconds_since(*iteration_start_));
      }
      plan.diagnostics.iterations = done;
      deadline_reached_ = done < options_.iterations;
      finish(plan);
    } catch (const std::exception& error) {
      detail::give_up(plan, error.what(), admissible(proposal_->mean()));
    } catch (...) {
      detail::give_up(plan, "something that is not a std::exception was thrown",
                      admissible(proposal_->mean()));
    }
    plan.timings.total = seconds_since(start_);
    plan.timings.cost = cost_seconds_;
    plan.timings.slowest_iteration = slowest_;
    return plan;
  }

 private:
  // Another iteration is started only if the slowest one so far would still fit. On an accelerator
  // the host runs ahead of the work, so it waits for the last result first; that is the only wait
  // inside the loop.
  bool out_of_time() {
    if (!problem_.deadline) return false;
    if (!problem_.options.device().is_cpu() && best_cost_.defined()) {
      (void)best_cost_.select(0, 0).item<double>();
      slowest_ = std::max(slowest_, seconds_since(*iteration_start_));
    }
    return Clock::now() + std::chrono::duration_cast<Clock::duration>(
                              std::chrono::duration<double>(slowest_)) >=
           *problem_.deadline;
  }

  int64_t samples_of(int64_t iteration) const {
    if (options_.sample_decay == 1.0) return options_.samples;
    const double decayed = static_cast<double>(options_.samples) *
                           std::pow(options_.sample_decay, -static_cast<double>(iteration));
    const auto floor = std::min(options_.samples, 2 * std::max<int64_t>(1, options_.elites));
    return std::max(static_cast<int64_t>(decayed), floor);
  }

  Tensor perturbation(int64_t samples) {
    if (options_.noise_schedule == NoiseSchedule::fresh) return proposal_->perturb(samples, noise_);
    if (!reused_.defined()) reused_ = proposal_->perturb(options_.samples, noise_);
    return reused_.narrow(1, 0, samples);
  }

  // Overwrites the first slots: mean, zero, given plans, best candidates of before.
  void fill_fixed_slots(Tensor& actions, int64_t iteration) const {
    const auto samples = actions.size(1);
    int64_t slot = 0;
    const bool last = iteration + 1 == options_.iterations;
    if (options_.mean_candidate == MeanCandidate::every_iteration ||
        (options_.mean_candidate == MeanCandidate::last_iteration && last))
      actions.select(1, slot++).copy_(proposal_->mean());
    if (options_.zero_candidate && slot < samples) actions.select(1, slot++).zero_();
    const auto fill = [&](const Tensor& plans, int64_t wanted) {
      const auto count = std::min({wanted, plans.size(1), samples - slot});
      if (count <= 0) return;
      actions.narrow(1, slot, count).copy_(plans.narrow(1, 0, count));
      slot += count;
    };
    if (proposals_.defined()) fill(proposals_, proposals_.size(1));
    const bool usable = kept_.defined() && kept_.dim() == 4 && kept_.size(0) == actions.size(0) &&
                        kept_.size(2) == actions.size(2) && kept_.size(3) == actions.size(3);
    if (usable) fill(kept_, iteration == 0 ? options_.carried_elites : options_.kept_elites);
  }

  // Limits and pinned values, for candidates [B,S,H,A] (in place where possible) and plans [B,H,A].
  Tensor admissible(Tensor actions) const {
    if (options_.bound == BoundKind::radial) {
      auto shape = actions.sizes().vec();
      auto split = shape;
      split.back() = problem_.action.block;
      split.push_back(problem_.action.dim);
      const auto raw = actions.reshape(split);
      const auto length = at::sqrt(raw.square().sum(-1, /*keepdim=*/true));
      actions = (raw * (length.clamp_max(options_.radius) / (length + 1e-6))).reshape(shape);
    } else if (options_.bound != BoundKind::none && limits_.active()) {
      actions = at::clamp(actions, limits_.low, limits_.high);
    }
    if (!pinned_.defined()) return actions;
    const bool candidates = actions.dim() == 4;
    return at::where(candidates ? free_.unsqueeze(1) : free_, actions,
                     candidates ? pinned_.unsqueeze(1) : pinned_);
  }

  Costs evaluate(const Tensor& actions) {
    const auto begin = Clock::now();
    auto costs = cost_(actions);
    check_costs(costs, problem_.batch, actions.size(1));
    cost_seconds_ += seconds_since(begin);
    return costs;
  }

  void iterate(int64_t iteration, Plan& plan) {
    auto variables = proposal_->draw(perturbation(samples_of(iteration)));
    auto actions = proposal_->decode(variables);
    fill_fixed_slots(actions, iteration);
    actions = admissible(actions);
    variables = proposal_->encode(variables, actions);

    costs_ = evaluate(actions);
    auto total = costs_.total;
    if (const auto control = proposal_->control_cost(variables, actions); control.defined())
      total = total + control;
    Ranking ranking{at::nan_to_num(total, kInfinity, kInfinity, kInfinity), violation_of(costs_)};
    const auto survivors = std::min(options_.elites, actions.size(1));
    selection_ = update_.select(ranking, survivors);

    const auto& index = selection_.index;
    const auto chosen = index.defined() ? rows_at(variables, index) : variables;
    // Where the variables are the actions themselves, their survivors serve twice.
    survivors_ = !index.defined()             ? Tensor()
                 : variables.is_same(actions) ? chosen
                                              : rows_at(actions, index);
    proposal_->refit(chosen, selection_);
    track_best(ranking, actions);
    const auto keep = std::max(options_.kept_elites, options_.carried_elites);
    if (keep > 0 && survivors_.defined())
      kept_ = survivors_.narrow(1, 0, std::min(keep, survivors_.size(1)));
    candidates_ = actions;
    summarise(ranking);
    if (options_.record == PlannerRecord::everything) record(ranking, variables, plan);
  }

  void track_best(const Ranking& ranking, const Tensor& actions) {
    // The first survivor is the best; without an index all candidates survived in their own order.
    Tensor cost, plan;
    if (survivors_.defined() && !ranking.violation.defined()) {
      best_index_ = selection_.index.narrow(1, 0, 1);
      cost = selection_.cost.select(1, 0);
      plan = survivors_.select(1, 0);
    } else {
      best_index_ = UniformUpdate().select(ranking, 1).index;
      cost = ranking.cost.gather(1, best_index_).squeeze(1);
      plan = rows_at(actions, best_index_).squeeze(1);
    }
    iteration_best_.push_back(cost);
    const auto violation = ranking.violation.defined()
                               ? ranking.violation.gather(1, best_index_).squeeze(1)
                               : Tensor();
    if (!best_cost_.defined()) {
      best_cost_ = cost;
      best_plan_ = plan;
      best_violation_ = violation;
      remember_best_terms({});
      return;
    }
    auto better = cost.lt(best_cost_);
    if (violation.defined())
      better = violation.lt(best_violation_) | (violation.eq(best_violation_) & better);
    best_cost_ = at::where(better, cost, best_cost_);
    best_plan_ = choose(better, plan, best_plan_);
    if (violation.defined()) best_violation_ = at::where(better, violation, best_violation_);
    remember_best_terms(better);
  }

  // Only best_ever answers with terms of an old iteration.
  void remember_best_terms(const Tensor& better) {
    if (options_.returned != Returned::best_ever) return;
    const auto now = picked(costs_, best_index_);
    if (!better.defined()) {
      best_costs_ = now;
      return;
    }
    best_costs_.total = at::where(better, now.total, best_costs_.total);
    for (std::size_t i = 0; i < now.terms.size(); ++i)
      best_costs_.terms[i].second =
          at::where(better, now.terms[i].second, best_costs_.terms[i].second);
    if (now.constraint.defined())
      best_costs_.constraint = choose(better, now.constraint, best_costs_.constraint);
  }

  // Only what cannot wait is computed here; the rest is done once for all iterations, at the end.
  void summarise(const Ranking& ranking) {
    weights_.push_back(selection_.weight);
    survivor_costs_.push_back(selection_.cost);
    concentration_.push_back(selection_.concentration);
    spread_.push_back(proposal_->spread());
    non_finite_.push_back(ranking.cost.isinf().sum(1));
  }

  // Weighted mean cost, [B] or [I,B]; weights are 0 wherever a cost is infinite.
  static Tensor survivor_cost(const Tensor& cost, const Tensor& weight) {
    return (at::nan_to_num(cost, 0.0, 0.0, 0.0) * weight).sum(-1);
  }

  void record(const Ranking& ranking, const Tensor& variables, Plan& plan) const {
    IterationRecord entry;
    entry.candidates = candidates_;
    entry.costs = ranking.cost;
    entry.survivors = selection_.index;
    entry.weights = selection_.weight;
    std::tie(entry.mean, entry.std) = proposal_->parameters();
    entry.variables = variables;
    plan.diagnostics.iteration.push_back(std::move(entry));
  }

  Tensor sampled_survivor() {
    const auto& weight = selection_.weight;
    const auto batch = options_.noise_sharing == NoiseSharing::shared ? 1 : problem_.batch;
    Tensor rank;
    if (options_.survivor_draw == SurvivorDraw::gumbel) {
      const auto u = noise_.uniform({batch, weight.size(1)}, problem_.options);
      rank = (weight.log() - at::log(-at::log(u))).argmax(1, /*keepdim=*/true);
    } else {
      const auto u = noise_.uniform({batch, 1}, problem_.options);
      const auto cumulative = weight.to(at::kDouble).cumsum(1);
      rank = cumulative.div(cumulative.narrow(1, weight.size(1) - 1, 1))
                 .le(u)
                 .sum(1, /*keepdim=*/true)
                 .clamp_max(weight.size(1) - 1);
    }
    const auto index = selection_.index.defined() ? selection_.index.gather(1, rank) : rank;
    return rows_at(candidates_, index).squeeze(1);
  }

  // The answer before limits; its costs too where they are already known.
  std::pair<Tensor, Costs> answer() {
    if (!best_cost_.defined() || options_.returned == Returned::mean)
      return {proposal_->mean(), {}};
    if (options_.returned == Returned::best_ever) return {best_plan_, best_costs_};
    if (options_.returned == Returned::best_last)
      return {rows_at(candidates_, best_index_).squeeze(1), picked(costs_, best_index_)};
    return {sampled_survivor(), {}};
  }

  void explore(Tensor& actions) {
    if (options_.exploration <= 0) return;
    const auto batch = options_.noise_sharing == NoiseSharing::shared ? 1 : problem_.batch;
    const auto draw = noise_.normal({batch, problem_.width()}, problem_.options);
    const auto first =
        actions.select(1, 0) + proposal_->std().select(1, 0) * draw * options_.exploration;
    actions = at::cat({first.unsqueeze(1), actions.narrow(1, 1, actions.size(1) - 1)}, 1);
  }

  void finish(Plan& plan) {
    auto [actions, costs] = answer();
    explore(actions);
    if (!options_.dead_zone.empty()) {
      const auto zone = per_dimension(options_.dead_zone, problem_, "SamplingOptions.dead_zone");
      actions = actions.masked_fill(actions.abs().lt(zone), 0.0);
      costs = {};
    }
    actions = admissible(actions);
    proposal_->remember(plan.warm_start);
    if (options_.carried_elites > 0 && kept_.defined())
      plan.warm_start.memory.emplace_back("elites", kept_);
    stack_diagnostics(plan.diagnostics);

    if (!costs.total.defined() && options_.evaluate_result && best_cost_.defined() &&
        !(problem_.deadline && Clock::now() >= *problem_.deadline))
      costs = evaluated(actions);
    if (costs.total.defined()) {
      plan.diagnostics.result_evaluated = true;
      plan.terms = costs.terms;
      plan.constraint = costs.constraint;
      // A mean can be worse than what it averages: where it is unusable, the best candidate stands
      // in.
      const auto usable = costs.total.isfinite() | best_cost_.isinf();
      actions = choose(usable, actions, best_plan_);
      plan.cost = at::where(usable, costs.total, best_cost_.to(costs.total.scalar_type()));
    } else {
      plan.cost = best_cost_.defined() ? survivor_cost(survivor_costs_.back(), weights_.back())
                                       : at::full({problem_.batch}, std::nan(""), problem_.options);
    }
    plan.actions = actions.contiguous();
    detail::judge(plan, {.best_cost = best_cost_,
                         .feasible = feasible(plan),
                         .deadline_reached = deadline_reached_,
                         .planned_iterations = options_.iterations});
  }

  Costs evaluated(const Tensor& actions) {
    return picked(evaluate(actions.unsqueeze(1)),
                  at::zeros({problem_.batch, 1}, problem_.options.dtype(at::kLong)));
  }

  void stack_diagnostics(Diagnostics& diagnostics) const {
    if (iteration_best_.empty()) return;
    diagnostics.best_cost = at::stack(iteration_best_);
    diagnostics.effective_samples =
        at::nan_to_num(at::stack(concentration_).squeeze(-1).reciprocal(), 0.0, 0.0, 0.0);
    diagnostics.spread = at::stack(spread_);
    diagnostics.non_finite = at::stack(non_finite_);
    std::vector<Tensor> means;  // populations may shrink from iteration to iteration
    for (std::size_t i = 0; i < weights_.size(); ++i)
      means.push_back(survivor_cost(survivor_costs_[i], weights_[i]));
    diagnostics.survivor_cost = at::stack(means);
  }

  Tensor feasible(const Plan& plan) const {
    if (!best_violation_.defined()) return {};
    return plan.constraint.defined() ? plan.constraint.le(0).all(1) : best_violation_.le(0);
  }

  const SamplingOptions& options_;
  const Problem& problem_;
  const Update& update_;
  Noise& noise_;
  Limits limits_;
  CostFunction cost_;
  std::unique_ptr<Proposal> proposal_;
  Tensor pinned_, free_;  // [1 or B,H,A]
  Tensor proposals_, reused_, kept_;

  Tensor candidates_;  // of the last iteration
  Costs costs_;
  Selection selection_;
  Tensor best_index_;                              // [B,1] in the last iteration
  Tensor best_cost_, best_plan_, best_violation_;  // [B], [B,H,A], [B]: best ever
  Costs best_costs_;
  Tensor survivors_;  // [B,K,H,A] actions, best first; undefined where all candidates survived
  std::vector<Tensor> iteration_best_, weights_, survivor_costs_, concentration_, spread_,
      non_finite_;

  Clock::time_point start_;
  std::optional<Clock::time_point> iteration_start_;
  double slowest_ = 0, cost_seconds_ = 0;
  bool deadline_reached_ = false;
};

// Shifted rates keep H rows; new ones are the prior mean.
Tensor advance_rates(const Tensor& rates, const std::vector<int64_t>& raw_steps, int64_t block,
                     const std::vector<double>& prior) {
  const auto width = rates.size(2), count = static_cast<int64_t>(prior.size());
  const auto row = at::tensor(prior, at::kDouble).repeat({width / count}).to(rates.options());
  // The end is filled by shifting the difference to the prior, which is zero there.
  auto moved = advance_plan(rates - row, raw_steps, block, Tail::prior);
  const auto rest = rates.size(1) - (moved.defined() ? moved.size(1) : 0);
  const auto zeros = at::zeros({rates.size(0), rest, width}, rates.options());
  moved = moved.defined() ? at::cat({moved, zeros}, 1) : zeros;
  return moved + row;
}

}  // namespace

SamplingPlanner::SamplingPlanner(SamplingOptions options)
    : SamplingPlanner(options, make_proposal, make_update(options)) {}

SamplingPlanner::SamplingPlanner(SamplingOptions options, ProposalFactory proposal,
                                 std::shared_ptr<const Update> update)
    : options_(std::move(options)), proposal_(std::move(proposal)), update_(std::move(update)) {
  require_valid(options_);
  require(proposal_ && update_, ErrorCategory::invalid_argument,
          "SamplingPlanner needs a proposal and an update");
}

Plan SamplingPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  c10::NoGradGuard no_grad;
  return Solve(options_, proposal_, *update_, problem, noise).run();
}

WarmStart SamplingPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                   int64_t block) const {
  c10::NoGradGuard no_grad;
  WarmStart next;
  next.mean = advance_plan(last.mean, raw_steps, block, options_.tail);
  for (const auto& [name, tensor] : last.memory) {
    if (name == "elites") {
      // Elites keep H rows: their end repeats the last action.
      const auto batch = tensor.size(0), count = tensor.size(1);
      std::vector<int64_t> steps;
      for (const auto row : raw_steps)
        steps.insert(steps.end(), static_cast<std::size_t>(count), row);
      next.memory.emplace_back(name,
                               advance_plan(tensor.flatten(0, 1), steps, block, Tail::repeat_last)
                                   .unflatten(0, {batch, count}));
    } else if (name == "rates") {
      next.memory.emplace_back(name,
                               advance_rates(tensor, raw_steps, block, options_.initial_mean));
    } else if (name == "knots" && last.mean.defined()) {
      std::vector<Tensor> rows;
      for (std::size_t b = 0; b < raw_steps.size(); ++b) {
        const auto shift = knot_shift_matrix(
            last.mean.size(1), tensor.size(1), options_.knot_kernel, options_.kernel_width,
            static_cast<double>(raw_steps[b]) / static_cast<double>(block));
        rows.push_back(at::matmul(shift.to(tensor.options()), tensor[static_cast<int64_t>(b)]));
      }
      next.memory.emplace_back(name, at::stack(rows));
    } else {
      next.memory.emplace_back(name, tensor);
    }
  }
  return next;
}

Tensor complete_warm_start(const Problem& problem, const Tensor& prior, Tail tail) {
  const auto batch = problem.batch, horizon = problem.horizon, width = problem.width();
  const auto& given = problem.warm_start.mean;
  const auto rows = given.defined() ? std::min(given.size(1), horizon) : 0;
  if (rows == 0 && !problem.tail) return prior.expand({batch, horizon, width}).contiguous();
  const auto prefix = rows == 0 ? at::zeros({batch, 0, width}, problem.options)
                                : given.narrow(1, 0, rows).to(problem.options);
  if (rows == horizon) return prefix.contiguous();
  const auto missing = horizon - rows;
  Tensor rest;
  if (problem.tail) {
    rest = problem.tail(prefix);
    check_shape("Problem.tail's result", rest, {batch, missing, width}, "[B,H-h,A]");
    rest = rest.to(problem.options);
  } else if (tail == Tail::repeat_last) {
    rest = prefix.narrow(1, rows - 1, 1).expand({batch, missing, width});
  } else {
    rest = prior.expand({batch, missing, width});
  }
  return at::cat({prefix, rest}, 1);
}

}  // namespace foresight
