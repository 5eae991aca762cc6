// SPDX-License-Identifier: Apache-2.0
// CMA-ES as a planner: needs no std schedule, learns which actions must change together, and adapts
// its step size in both directions. The sampling loop draws, bounds and evaluates; CmaEs learns.
#pragma once

#include "foresight/planning/cma_es.hpp"
#include "foresight/planning/planner.hpp"
#include "foresight/planning/sampling_options.hpp"

namespace foresight {

/// The variables are the H*A elements of a plan. Candidates are clamped to the limits, and the
/// clamped ones are what is learnt from. Reflection at the limits, the usual alternative, gives a
/// limit itself probability zero, while the best plans are often bang-bang; and rate limits and
/// pinned values have no mirror image. The mean is a mean of clamped candidates, hence within the
/// limits. Weights are positive by default: negative ones presume samples of full length, and with
/// clamped ones they turn the covariance indefinite where the optimum lies at a limit (form.weights
/// = active pays off where limits do not bind).
struct FORESIGHT_API CmaEsOptions {
  int64_t samples = 0;
  int64_t iterations = 100;
  CmaForm form = {.weights = CmaWeights::positive};
  std::vector<double> initial_mean = {0.0};
  std::vector<double> initial_std = {0.5};
  NoiseSharing noise_sharing = NoiseSharing::shared;
  BoundKind bound = BoundKind::box;
  double radius = 1.0;
  Returned returned = Returned::mean;
  Tail tail = Tail::prior;
  bool evaluate_result = true;
  int64_t max_candidates = 0;
  PlannerRecord record = PlannerRecord::summary;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("samples", self.samples, "candidates per iteration; 0: 4 + floor(3 ln(H*A))");
    visit("iterations", self.iterations, "generations per solve");
    visit("form", self.form, "covariance, its factor, constants and weights");
    visit("initial_mean", self.initial_mean, "prior mean, also of missing warm-start rows");
    visit("initial_std", self.initial_std,
          "std at the start of every solve; the answer is best expected within 3 of them");
    visit("noise_sharing", self.noise_sharing, "the same draws for all problems or own ones");
    visit("bound", self.bound, "how candidates are kept within limits; not truncated");
    visit("radius", self.radius, "largest Euclidean length of a raw action (radial bound)");
    visit("returned", self.returned, "mean, best_last or best_ever");
    visit("tail", self.tail, "rule for missing warm-start rows");
    visit("evaluate_result", self.evaluate_result,
          "one more rollout for the cost and terms of the answer when it is not a candidate");
    visit("max_candidates", self.max_candidates, "candidates per cost call; 0: all at once");
    visit("record", self.record, "keep a summary or everything of each iteration");
  }
  std::vector<std::string> validate() const;
};

/// Draw order: per iteration standard normals [1 or B, samples, H, A], then whatever the cost
/// function draws. Problem::proposals take the place of the first samples; steps to them are
/// shortened in the update (CmaEs::injectable).
class FORESIGHT_API CmaEsPlanner final : public Planner {
 public:
  explicit CmaEsPlanner(CmaEsOptions options = {});
  Plan solve(const Problem& problem, Noise& noise) const override;
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override;
  const CmaEsOptions& options() const noexcept { return options_; }

 private:
  CmaEsOptions options_;
};

}  // namespace foresight
