// SPDX-License-Identifier: Apache-2.0
// The one loop behind CEM, iCEM, MPPI, predictive sampling and their relatives: draw, bound,
// evaluate, select, refit.
#pragma once

#include <memory>

#include "foresight/planning/planner.hpp"
#include "foresight/planning/proposal.hpp"
#include "foresight/planning/sampling_options.hpp"
#include "foresight/planning/update.hpp"

namespace foresight {

/// Draw order of one solve: per iteration the proposal's draws, then whatever the cost function
/// draws; at the end the survivor draw and the exploration noise. Nothing is read back to the host
/// before the end, except the clock's reference point on an accelerator when a deadline is set.
class FORESIGHT_API SamplingPlanner final : public Planner {
 public:
  explicit SamplingPlanner(SamplingOptions options = {});
  /// With policies of one's own.
  SamplingPlanner(SamplingOptions options, ProposalFactory proposal,
                  std::shared_ptr<const Update> update);

  Plan solve(const Problem& problem, Noise& noise) const override;
  /// Also shifts the carried elites, rates and knots.
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override;

  const SamplingOptions& options() const noexcept { return options_; }

 private:
  SamplingOptions options_;
  ProposalFactory proposal_;
  std::shared_ptr<const Update> update_;
};

/// The search's first mean [B,H,A]: the warm start cut or completed to H rows, or `prior` [A] where
/// there is none.
FORESIGHT_API Tensor complete_warm_start(const Problem& problem, const Tensor& prior, Tail tail);

}  // namespace foresight
