// SPDX-License-Identifier: Apache-2.0
// Sampling, then gradients: a global search finds the valley, gradient steps through the model find
// its bottom in fewer rollouts than more samples would.
#pragma once

#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight {

struct FORESIGHT_API RefinedOptions {
  SamplingOptions search = {};
  GradientOptions polish = {.samples = 8,
                            .iterations = 10,
                            .optimizer = ActionOptimizer::adam,
                            .learning_rate = 0.02,
                            .initial_std = 0.0};
  double search_share = 0.7;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("search", self.search, "the sampling planner that comes first");
    visit("polish", self.polish,
          "gradient steps on its answer and, where samples > 1, on its best candidates");
    visit("search_share", self.search_share,
          "part of the time to the deadline that the search may use");
  }
  std::vector<std::string> validate() const;
};

/// Never worse than the search alone: each problem keeps the better of the two plans, feasible
/// before infeasible, then by cost. A cost function without gradients leaves the search's plan and
/// says so in the message. The cost function must be deterministic for that comparison to mean
/// much. Discrete actions: search = categorical with polish.projection = simplex.
///
/// Diagnostics list the iterations of the search, then those of the polish. Draw order: the
/// search's draws, then the polish's.
class FORESIGHT_API RefinedPlanner final : public Planner {
 public:
  explicit RefinedPlanner(RefinedOptions options = {});
  Plan solve(const Problem& problem, Noise& noise) const override;
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override;
  const RefinedOptions& options() const noexcept { return options_; }

 private:
  void polish(Plan& plan, const Problem& problem, Noise& noise) const;

  RefinedOptions options_;
  SamplingPlanner search_;
  GradientPlanner polish_;
};

}  // namespace foresight
