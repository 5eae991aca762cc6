// SPDX-License-Identifier: Apache-2.0
#include "gradient_search.hpp"

#include <c10/core/GradMode.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "infinity.hpp"
#include "verdict.hpp"

namespace foresight::detail {
namespace {

using Clock = Problem::Clock;

double seconds_since(const Problem& problem, Clock::time_point start) {
  return std::chrono::duration<double>(problem.now() - start).count();
}

}  // namespace

GradientSearch::GradientSearch(const GradientOptions& options, const Problem& problem, Noise& noise)
    : options_(options),
      problem_(problem),
      noise_(noise),
      admissible_(problem,
                  options.projection == Projection::box ? BoundKind::box : BoundKind::none) {
  require((options.projection == Projection::simplex) == problem.action.discrete,
          ErrorCategory::invalid_argument,
          "projection = simplex goes with a discrete ActionSpace, and only with it");
  const auto samples = options.samples;
  start_ =
      complete_warm_start(problem, at::zeros({problem.width()}, problem.options), options.tail);
  candidates_ = start_.unsqueeze(1).repeat({1, samples, 1, 1});
  if (options.start_noise == StartNoise::other_samples) {
    if (samples > 1)
      candidates_.narrow(1, 1, samples - 1)
          .add_(noise_like({samples - 1, problem.horizon, problem.width()}) * options.initial_std);
  } else {
    const auto given = problem.warm_start.mean.defined()
                           ? std::min(problem.warm_start.mean.size(1), problem.horizon)
                           : 0;
    const auto missing = problem.horizon - given;
    if (missing > 0)
      candidates_.narrow(2, given, missing)
          .copy_((noise_like({samples, missing, problem.width()}) * options.initial_std)
                     .expand({problem.batch, samples, missing, problem.width()}));
  }
  if (problem.proposals.defined() && samples > 1) {
    const auto given = problem.proposals.to(problem.options);
    const auto count = std::min(given.size(1), samples - 1);
    candidates_.narrow(1, 1, count).copy_(given.narrow(1, 0, count));
  }
  candidates_ = admissible_(candidates_);
}

Tensor GradientSearch::noise_like(at::IntArrayRef sizes) {
  std::vector<int64_t> shape{options_.noise_sharing == NoiseSharing::shared ? 1 : problem_.batch};
  shape.insert(shape.end(), sizes.begin(), sizes.end());
  return noise_.normal(shape, problem_.options);
}

// The host runs ahead of an accelerator, so that a step has ended when its result can be read; how
// much of it was forward is not seen there, and all of it is taken for it.
double GradientSearch::seconds_left() {
  if (!problem_.options.device().is_cpu() && step_start_) {
    (void)candidates_.flatten()[0].item<double>();
    slowest_ = std::max(slowest_, seconds_since(problem_, *step_start_));
    slowest_forward_ = slowest_;
    step_start_.reset();
  }
  return std::chrono::duration<double>(*problem_.deadline - problem_.now()).count();
}

// What finish() takes: the candidates' costs, and for symbols those of the rounded plan as well.
double GradientSearch::finishing() const {
  return options_.projection == Projection::simplex ? 2 * slowest_forward_ : slowest_forward_;
}

bool GradientSearch::time_to_step() {
  return !problem_.deadline || seconds_left() > slowest_ + finishing();
}

bool GradientSearch::time_to_evaluate() {
  return !problem_.deadline || seconds_left() > slowest_forward_ + finishing();
}

void GradientSearch::restart_optimizer() {
  first_ = second_ = Tensor();
  steps_ = 0;
}

// The norm is guarded like torch's clip_grad_norm_.
Tensor GradientSearch::clipped(Tensor gradient) const {
  if (options_.clip_norm <= 0) return gradient;
  const auto squared = gradient.square();
  const auto norm =
      at::sqrt(options_.clip_scope == ClipScope::batch ? squared.sum()
                                                       : squared.sum({2, 3}, /*keepdim=*/true));
  return gradient * (options_.clip_norm / (norm + 1e-6)).clamp_max(1.0);
}

// The change that the optimizer makes of a gradient, learning rate included.
Tensor GradientSearch::direction(const Tensor& gradient) {
  ++steps_;
  if (options_.optimizer == ActionOptimizer::sgd) return gradient * -options_.learning_rate;
  if (!first_.defined()) first_ = at::zeros_like(gradient), second_ = at::zeros_like(gradient);
  first_ = first_ * options_.beta1 + gradient * (1 - options_.beta1);
  second_ = second_ * options_.beta2 + gradient.square() * (1 - options_.beta2);
  const double t = static_cast<double>(steps_);
  const double unbias1 = 1 - std::pow(options_.beta1, t), unbias2 = 1 - std::pow(options_.beta2, t);
  const auto root = at::sqrt(second_) / std::sqrt(unbias2) + options_.epsilon;
  return first_ / root * (-options_.learning_rate / unbias1);
}

Tensor GradientSearch::projected(const Tensor& actions) const {
  if (options_.projection != Projection::simplex) return actions;
  return project_to_simplex(actions.unflatten(-1, {problem_.action.block, problem_.action.dim}))
      .flatten(-2);
}

void GradientSearch::step(const Loss& loss) {
  const auto begin = problem_.now();
  step_start_ = begin;
  double forward = 0;
  const auto samples = candidates_.size(1);
  const auto slice =
      options_.max_candidates > 0 ? std::min(options_.max_candidates, samples) : samples;
  std::vector<Tensor> gradients;
  std::vector<Tensor> totals;
  Costs costs;
  for (int64_t from = 0; from < samples; from += slice) {
    c10::AutoGradMode enable(true);
    const auto count = std::min(slice, samples - from);
    auto part = candidates_.narrow(1, from, count).detach().clone().requires_grad_();
    const auto cost_begin = problem_.now();
    costs = problem_.cost(part);
    check_costs(costs, problem_.batch, count);
    forward += seconds_since(problem_, cost_begin);
    require(costs.total.requires_grad(), ErrorCategory::invalid_argument,
            "the cost function is not differentiable in the actions");
    gradients.push_back(torch::autograd::grad({loss(costs)}, {part})[0]);
    totals.push_back(costs.total.detach());
  }
  // A candidate without a usable gradient stays where it is.
  const auto gradient = at::nan_to_num(at::cat(gradients, 1), 0.0, 0.0, 0.0);
  costs = Costs{at::cat(totals, 1), {}, {}};
  summarise(costs, gradient);

  auto next = candidates_;
  if (options_.optimizer == ActionOptimizer::adamw)
    next = next * (1 - options_.learning_rate * options_.weight_decay);
  next = next + direction(clipped(gradient));
  if (options_.step_noise > 0)
    next = next + noise_like({samples, problem_.horizon, problem_.width()}) * options_.step_noise;
  next = projected(next);
  candidates_ = admissible_(at::where(next.isfinite(), next, candidates_));
  ++total_steps_;
  cost_seconds_ += forward;
  slowest_forward_ = std::max(slowest_forward_, forward);
  slowest_ = std::max(slowest_, seconds_since(problem_, begin));
}

Costs GradientSearch::evaluate() {
  c10::NoGradGuard no_grad;
  const auto begin = problem_.now();
  step_start_ = begin;  // to be waited for as well
  auto costs = in_slices(problem_.cost, options_.max_candidates)(candidates_);
  check_costs(costs, problem_.batch, candidates_.size(1));
  const double forward = seconds_since(problem_, begin);
  cost_seconds_ += forward;
  slowest_forward_ = std::max(slowest_forward_, forward);
  return costs;
}

void GradientSearch::summarise(const Costs& costs, const Tensor& gradient) {
  const auto ranked = at::nan_to_num(costs.total, kInfinity, kInfinity, kInfinity);
  best_.push_back(ranked.amin(1));
  mean_.push_back(ranked.mean(1));
  spread_.push_back(candidates_.std(1, /*unbiased=*/false).mean({1, 2}));
  non_finite_.push_back(ranked.isinf().sum(1));
  if (options_.record != PlannerRecord::everything) return;
  IterationRecord entry;
  entry.candidates = candidates_;
  entry.costs = ranked;
  entry.gradient = gradient;
  records_.push_back(std::move(entry));
}

void GradientSearch::stack(Diagnostics& diagnostics) const {
  diagnostics.iterations = total_steps_;
  if (best_.empty()) return;
  diagnostics.best_cost = at::stack(best_);
  diagnostics.survivor_cost = at::stack(mean_);
  diagnostics.spread = at::stack(spread_);
  diagnostics.non_finite = at::stack(non_finite_);
  diagnostics.effective_samples =
      at::full_like(diagnostics.best_cost, static_cast<double>(candidates_.size(1)));
  diagnostics.iteration = records_;
}

// Symbols are one-hot in the answer; limits and pinned values hold.
Tensor GradientSearch::rounded(const Tensor& plans) const {
  if (options_.projection != Projection::simplex) return admissible_(plans);
  const auto symbols = plans.unflatten(-1, {problem_.action.block, problem_.action.dim});
  return admissible_(
      at::zeros_like(symbols).scatter_(-1, symbols.argmax(-1, /*keepdim=*/true), 1.0).flatten(-2));
}

void GradientSearch::finish(Plan& plan, bool by_violation, bool complete, int64_t planned) {
  c10::NoGradGuard no_grad;
  Evidence evidence;
  evidence.deadline_reached = !complete;
  evidence.planned_iterations = planned;
  if (total_steps_ == 0) {
    plan.actions = rounded(start_).contiguous();
    plan.cost = at::full({problem_.batch}, std::nan(""), problem_.options);
  } else {
    auto costs = evaluate();
    const auto violation = violation_of(costs);
    const auto ranked = at::nan_to_num(costs.total, kInfinity, kInfinity, kInfinity);
    const Ranking ranking{ranked, by_violation ? violation : Tensor()};
    const auto index = options_.returned == GradientAnswer::last
                           ? at::zeros({problem_.batch, 1}, problem_.options.dtype(at::kLong))
                           : UniformUpdate().select(ranking, 1).index;
    summarise(costs, {});
    const auto chosen = rows_at(candidates_, index).squeeze(1);
    plan.actions = rounded(chosen).contiguous();
    auto own = picked(costs, index);
    const bool moved = options_.projection == Projection::simplex;
    if (moved) {
      // The cost of a relaxed point says little about the symbols next to it.
      auto again = problem_.cost(plan.actions.unsqueeze(1));
      check_costs(again, problem_.batch, 1);
      own = picked(again, at::zeros_like(index));
    }
    plan.cost = own.total;
    plan.terms = own.terms;
    plan.constraint = own.constraint;
    plan.diagnostics.result_evaluated = true;
    evidence.best_cost = at::nan_to_num(own.total, kInfinity, kInfinity, kInfinity);
    // A candidate that left the finite range at the very end: the start is all that is known to be
    // sound.
    plan.actions =
        choose(evidence.best_cost.isfinite(), plan.actions, rounded(start_)).contiguous();
    if (own.constraint.defined()) evidence.feasible = own.constraint.le(0).all(1);
  }
  plan.warm_start.mean = plan.actions;
  stack(plan.diagnostics);
  judge(plan, evidence);
}

}  // namespace foresight::detail
