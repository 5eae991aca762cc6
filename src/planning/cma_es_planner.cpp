// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/cma_es_planner.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"
#include "foresight/core/memory.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "warm_start.hpp"

namespace foresight {
namespace {

// The search distribution of one solve as the sampling loop sees it.
class CmaProposal final : public Proposal {
 public:
  CmaProposal(CmaParameters parameters, const CmaEsOptions& options, const Problem& problem,
              const Tensor& mean)
      : problem_(problem),
        sharing_(options.noise_sharing),
        injects_(problem.proposals.defined()),
        search_(std::move(parameters), options.form, mean.flatten(1), 1.0,
                per_dimension(options.initial_std, problem, "CmaEsOptions.initial_std")
                    .square()
                    .repeat({problem.horizon})) {
    require(!problem.action.discrete, ErrorCategory::invalid_argument,
            "CMA-ES needs a continuous ActionSpace; use categorical search for a discrete one");
  }

  Tensor perturb(int64_t samples, Noise& noise) const override {
    const auto batch = sharing_ == NoiseSharing::shared ? 1 : problem_.batch;
    return noise.normal({batch, samples, problem_.horizon, problem_.width()}, problem_.options);
  }
  Tensor draw(const Tensor& perturbation) const override {
    return as_plans(search_.ask(perturbation.flatten(2)));
  }
  Tensor decode(const Tensor& variables) const override { return variables; }
  Tensor encode(const Tensor&, const Tensor& actions) const override { return actions; }
  Tensor control_cost(const Tensor&, const Tensor&) const override { return {}; }

  void refit(const Tensor& survivors, const Selection& selection) override {
    const auto ranked = survivors.flatten(2);
    search_.tell(injects_ ? search_.injectable(ranked) : ranked, selection.cost.isfinite());
  }

  Tensor mean() const override { return as_plan(search_.state().mean); }
  Tensor std() const override { return as_plan(search_.std()); }
  Tensor spread() const override { return search_.std().mean(1); }
  std::pair<Tensor, Tensor> parameters() const override { return {mean(), std()}; }
  void remember(WarmStart& warm_start) const override { warm_start.mean = mean(); }

 private:
  Tensor as_plan(const Tensor& flat) const {
    return flat.unflatten(1, {problem_.horizon, problem_.width()});
  }
  Tensor as_plans(const Tensor& flat) const {
    return flat.unflatten(2, {problem_.horizon, problem_.width()});
  }

  const Problem& problem_;
  NoiseSharing sharing_;
  bool injects_;
  CmaEs search_;
};

// All candidates in order; the weights reported are those of the mean.
class CmaUpdate final : public Update {
 public:
  CmaUpdate(const CmaParameters& parameters, const at::TensorOptions& options)
      : weights_(at::tensor(parameters.weights, at::kDouble).clamp_min(0.0).to(options)) {}

  Selection select(const Ranking& ranking, int64_t) const override {
    auto selection = UniformUpdate().select(ranking, ranking.cost.size(1));
    const auto weight = weights_ * selection.cost.isfinite();
    selection.weight =
        weight / weight.sum(1, /*keepdim=*/true).clamp_min(std::numeric_limits<float>::min());
    selection.concentration = selection.weight.square().sum(1, /*keepdim=*/true);
    return selection;
  }

 private:
  Tensor weights_;  // [S]
};

}  // namespace

std::vector<std::string> CmaEsOptions::validate() const {
  Rules rules("CmaEsOptions");
  rules
      .check(samples == 0 || samples >= 2, "samples", static_cast<double>(samples),
             "must be 0 (by the number of variables) or >= 2")
      .at_least("iterations", static_cast<double>(iterations), 1)
      .not_empty("initial_mean", initial_mean)
      .not_empty("initial_std", initial_std)
      .all_within("initial_mean", initial_mean)
      .check(std::all_of(initial_std.begin(), initial_std.end(),
                         [](double s) { return std::isfinite(s) && s > 0; }),
             "initial_std", initial_std.empty() ? 0.0 : initial_std.front(),
             "must be positive and finite")
      .positive("radius", radius)
      .check(bound != BoundKind::truncated, "bound", enum_name(bound),
             "must be none, box or radial")
      .check(returned != Returned::sampled_survivor, "returned", enum_name(returned),
             "must be mean, best_last or best_ever")
      .at_least("max_candidates", static_cast<double>(max_candidates), 0);
  return rules.problems();
}

CmaEsPlanner::CmaEsPlanner(CmaEsOptions options) : options_(std::move(options)) {
  require_valid(options_);
  keep_freed_memory();
}

Plan CmaEsPlanner::solve(const Problem& problem, Noise& noise) const {
  problem.check();
  const auto variables = problem.horizon * problem.width();
  const auto samples = options_.samples > 0 ? options_.samples : cma_default_samples(variables);
  const auto parameters = cma_parameters(variables, samples, options_.form);
  SamplingOptions loop{.samples = samples,
                       .iterations = options_.iterations,
                       .elites = samples,
                       .initial_mean = options_.initial_mean,
                       .mean_candidate = MeanCandidate::never,
                       .bound = options_.bound,
                       .radius = options_.radius,
                       .returned = options_.returned,
                       .tail = options_.tail,
                       .evaluate_result = options_.evaluate_result,
                       .max_candidates = options_.max_candidates,
                       .record = options_.record};
  const auto proposal = [&](const SamplingOptions&, const Problem& asked, const Tensor& mean) {
    return std::make_unique<CmaProposal>(parameters, options_, asked, mean);
  };
  return SamplingPlanner(std::move(loop), proposal,
                         std::make_shared<CmaUpdate>(parameters, problem.options))
      .solve(problem, noise);
}

WarmStart CmaEsPlanner::advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                                int64_t block) const {
  WarmStart next;
  next.mean =
      detail::advance_mean(last.mean, raw_steps, block, options_.tail, options_.initial_mean);
  return next;
}

}  // namespace foresight
