// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/sampling_planner.hpp"

#include <algorithm>
#include <cmath>

#include "admissible.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/memory.hpp"
#include "foresight/core/without_gradients.hpp"
#include "incumbent.hpp"
#include "search_log.hpp"
#include "verdict.hpp"

namespace foresight {
namespace {

using Clock = Problem::Clock;
using detail::choose;
using detail::picked;
using detail::rows_at;
using detail::violation_of;

// One solve: what SamplingPlanner::solve() keeps between iterations.
class Solve {
 public:
  Solve(const SamplingOptions& options, const ProposalFactory& factory, const Update& update,
        const Problem& problem, Noise& noise)
      : options_(options),
        problem_(problem),
        update_(update),
        noise_(noise),
        admissible_(problem, options.bound, options.radius),
        cost_(in_slices(problem.cost, options.max_candidates)),
        best_(options.returned == Returned::best_ever ? detail::KeepCosts::yes
                                                      : detail::KeepCosts::no) {
    start_ = problem.now();
    // The prior is that of what is sampled; symbols have none, and rates count from a plan of
    // zeros.
    const bool of_actions = options.proposal != ProposalKind::categorical &&
                            options.proposal != ProposalKind::action_rates;
    const auto prior =
        of_actions ? per_dimension(options.initial_mean, problem, "SamplingOptions.initial_mean")
                   : at::zeros({problem.width()}, problem.options);
    auto mean = complete_warm_start(problem, prior, options.tail);
    if (problem.pinned.defined()) {
      const auto pinned = problem.pinned.to(problem.options);
      mean = at::where(pinned.isnan(), mean, pinned);
    }
    // Clamping around a start that is out of reach would throw most draws into one corner.
    if (problem.max_step.defined()) mean = admissible_(mean);
    proposal_ = factory(options, problem, mean);
    kept_ = find_term(problem.warm_start.memory, "elites");
    if (kept_.defined()) kept_ = kept_.to(problem.options);
    if (problem.proposals.defined()) proposals_ = problem.proposals.to(problem.options);
  }

  Plan run() {
    Plan plan;
    try {
      int64_t done = 0;
      for (; done < options_.iterations && !out_of_time(); ++done) {
        iteration_start_ = problem_.now();
        iterate(done, plan);
        slowest_ = std::max(slowest_, seconds_since(*iteration_start_));
      }
      plan.diagnostics.iterations = done;
      deadline_reached_ = done < options_.iterations;
      finish(plan);
    } catch (const std::exception& error) {
      detail::give_up(plan, error.what(), admissible_(proposal_->mean()));
    } catch (...) {
      detail::give_up(plan, "something that is not a std::exception was thrown",
                      admissible_(proposal_->mean()));
    }
    plan.timings.total = seconds_since(start_);
    plan.timings.cost = cost_seconds_;
    plan.timings.slowest_iteration = slowest_;
    return plan;
  }

 private:
  double seconds_since(Clock::time_point start) const {
    return std::chrono::duration<double>(problem_.now() - start).count();
  }

  // Another iteration is started only if the slowest one so far would still fit. On an accelerator
  // the host runs ahead of the work, so it waits for the last result first; that is the only wait
  // inside the loop.
  bool out_of_time() {
    if (!problem_.deadline) return false;
    if (!problem_.options.device().is_cpu() && best_.defined()) {
      (void)best_.cost().select(0, 0).item<double>();
      slowest_ = std::max(slowest_, seconds_since(*iteration_start_));
    }
    return std::chrono::duration<double>(*problem_.deadline - problem_.now()).count() <= slowest_;
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
    const auto slots_for = [&](const Tensor& plans, int64_t wanted) {  // as many as fit
      const auto count = std::max<int64_t>(0, std::min({wanted, plans.size(1), samples - slot}));
      slot += count;
      return actions.narrow(1, slot - count, count);
    };
    if (proposals_.defined()) {
      auto place = slots_for(proposals_, proposals_.size(1));
      place.copy_(proposals_.narrow(1, 0, place.size(1)));
    }
    const bool usable = kept_.defined() && kept_.dim() == 4 && kept_.size(0) == actions.size(0) &&
                        kept_.size(2) == actions.size(2) && kept_.size(3) == actions.size(3);
    if (!usable) return;
    auto place = slots_for(kept_, iteration == 0 ? options_.carried_elites : options_.kept_elites);
    const auto elites = kept_.narrow(1, 0, place.size(1));
    // A problem that has none of before (NaN), while others have, keeps its draws.
    place.copy_(iteration == 0 ? at::where(elites.isnan(), place, elites) : elites);
  }

  Costs evaluate(const Tensor& actions) {
    const auto begin = problem_.now();
    auto costs = cost_(actions);
    check_costs(costs, problem_.batch, actions.size(1));
    // Weights follow from costs, and in bfloat16 thirty of 1/30 sum to 1.003.
    if (at::isReducedFloatingType(costs.total.scalar_type()))
      costs.total = costs.total.to(at::kFloat);
    cost_seconds_ += seconds_since(begin);
    return costs;
  }

  void iterate(int64_t iteration, Plan& plan) {
    auto variables = proposal_->draw(perturbation(samples_of(iteration)));
    auto actions = proposal_->decode(variables);
    fill_fixed_slots(actions, iteration);
    admissible_.apply(actions);
    variables = proposal_->encode(variables, actions);

    costs_ = evaluate(actions);
    Ranking ranking{detail::ranked_costs(costs_.total, proposal_->control_cost(variables, actions)),
                    violation_of(costs_)};
    const auto survivors = std::min(options_.elites, actions.size(1));
    selection_ = update_.select(ranking, survivors);

    const auto& index = selection_.index;
    const auto chosen = index.defined() ? rows_at(variables, index) : variables;
    // Where the variables are the actions themselves, their survivors serve twice.
    survivors_ = !index.defined()             ? Tensor()
                 : variables.is_same(actions) ? chosen
                                              : rows_at(actions, index);
    proposal_->refit(chosen, selection_);
    best_.meet(ranking, selection_, survivors_, actions, costs_);
    const auto keep = std::max(options_.kept_elites, options_.carried_elites);
    if (keep > 0 && survivors_.defined())
      kept_ = survivors_.narrow(1, 0, std::min(keep, survivors_.size(1)));
    candidates_ = actions;
    log_.add(ranking, best_.last_cost(), selection_, proposal_->spread());
    if (options_.record == PlannerRecord::everything) record(ranking, variables, plan);
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
    if (!best_.defined() || options_.returned == Returned::mean) return {proposal_->mean(), {}};
    if (options_.returned == Returned::best_ever) return {best_.plan(), best_.costs()};
    if (options_.returned == Returned::best_last)
      return {rows_at(candidates_, best_.last_index()).squeeze(1),
              picked(costs_, best_.last_index())};
    return {sampled_survivor(), {}};
  }

  void explore(Tensor& actions) {
    const auto batch = options_.noise_sharing == NoiseSharing::shared ? 1 : problem_.batch;
    const auto draw = noise_.normal({batch, problem_.width()}, problem_.options);
    const auto first =
        actions.select(1, 0) + proposal_->std().select(1, 0) * draw * options_.exploration;
    actions = at::cat({first.unsqueeze(1), actions.narrow(1, 1, actions.size(1) - 1)}, 1);
  }

  void finish(Plan& plan) {
    auto [actions, costs] = answer();
    if (options_.exploration > 0) {
      explore(actions);
      costs = {};
    }
    if (!options_.dead_zone.empty()) {
      const auto zone = per_dimension(options_.dead_zone, problem_, "SamplingOptions.dead_zone");
      actions = actions.masked_fill(actions.abs().lt(zone), 0.0);
      costs = {};
    }
    actions = admissible_(actions);
    proposal_->remember(plan.warm_start);
    if (options_.carried_elites > 0 && kept_.defined())
      plan.warm_start.memory.emplace_back("elites", kept_);
    log_.stack(plan.diagnostics);

    if (!costs.total.defined() && options_.evaluate_result && best_.defined() &&
        !(problem_.deadline && problem_.now() >= *problem_.deadline))
      costs = evaluated(actions);
    if (!costs.total.defined() && best_.violation().defined()) {
      // Never checked against the constraints, a mean between two sides of an obstacle would pass
      // for feasible because its neighbours are.
      actions = best_.plan();
      costs = best_.costs();
    }
    if (costs.total.defined()) {
      plan.diagnostics.result_evaluated = true;
      // A mean can be worse than what it averages: where it is unusable, or breaks a constraint
      // that some candidate kept, the best candidate stands in.
      auto usable = costs.total.isfinite() | best_.cost().isinf();
      if (costs.constraint.defined()) {
        usable = usable & (costs.constraint.le(0).all(1) | best_.violation().gt(0));
        costs = choose(usable, costs, best_.costs());
      } else {
        costs.total = at::where(usable, costs.total, best_.cost().to(costs.total.scalar_type()));
      }
      actions = choose(usable, actions, best_.plan());
      plan.cost = costs.total;
      plan.terms = costs.terms;
      plan.constraint = costs.constraint;
    } else {
      plan.cost = best_.defined() ? log_.last_survivor_cost()
                                  : at::full({problem_.batch}, std::nan(""), problem_.options);
    }
    plan.actions = actions.contiguous();
    detail::judge(plan, {.best_cost = best_.cost(),
                         .feasible = feasible(plan),
                         .deadline_reached = deadline_reached_,
                         .planned_iterations = options_.iterations});
  }

  Costs evaluated(const Tensor& actions) {
    return picked(evaluate(actions.unsqueeze(1)),
                  at::zeros({problem_.batch, 1}, problem_.options.dtype(at::kLong)));
  }

  Tensor feasible(const Plan& plan) const {
    if (!best_.violation().defined()) return {};
    return plan.constraint.defined() ? plan.constraint.le(0).all(1) : best_.violation().le(0);
  }

  const SamplingOptions& options_;
  const Problem& problem_;
  const Update& update_;
  Noise& noise_;
  detail::Admissible admissible_;
  CostFunction cost_;
  std::unique_ptr<Proposal> proposal_;
  Tensor proposals_, reused_, kept_;

  Tensor candidates_;  // of the last iteration
  Costs costs_;
  Selection selection_;
  Tensor survivors_;  // [B,K,H,A] actions, best first; undefined where all candidates survived
  detail::Incumbent best_;
  detail::SearchLog log_;

  Clock::time_point start_;
  std::optional<Clock::time_point> iteration_start_;
  double slowest_ = 0, cost_seconds_ = 0;
  bool deadline_reached_ = false;
};

}  // namespace

SamplingPlanner::SamplingPlanner(SamplingOptions options)
    : SamplingPlanner(options, make_proposal, make_update(options)) {}

SamplingPlanner::SamplingPlanner(SamplingOptions options, ProposalFactory proposal,
                                 std::shared_ptr<const Update> update)
    : options_(std::move(options)), proposal_(std::move(proposal)), update_(std::move(update)) {
  require_valid(options_);
  require(proposal_ && update_, ErrorCategory::invalid_argument,
          "SamplingPlanner needs a proposal and an update");
  keep_freed_memory();
}

Plan SamplingPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  WithoutGradients no_gradients;
  return Solve(options_, proposal_, *update_, problem, noise).run();
}

}  // namespace foresight
