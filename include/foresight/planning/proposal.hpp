// SPDX-License-Identifier: Apache-2.0
// The proposal policy of a sampling planner: the distribution that candidates are drawn from, alive
// for one solve.
#pragma once

#include <functional>
#include <memory>

#include "foresight/core/noise.hpp"
#include "foresight/planning/sampling_options.hpp"
#include "foresight/planning/update.hpp"

namespace foresight {

/// Limits of a normalised action block, [A] each; undefined where unbounded.
struct Limits {
  Tensor low;
  Tensor high;
  bool active() const { return low.defined(); }
};
FORESIGHT_API Limits block_limits(const Problem& problem);

/// A per-dimension option (1, dim or A values) as a tensor [A] on the problem's device.
FORESIGHT_API Tensor per_dimension(const std::vector<double>& values, const Problem& problem,
                                   std::string_view name);

/// The search distribution of one solve. What is sampled ("variables") may differ from the actions
/// that are evaluated: knots and rates are decoded, and bounded actions are encoded back, so that
/// the update sees what was evaluated.
class FORESIGHT_API Proposal {
 public:
  virtual ~Proposal() = default;

  /// Standardised draws for `samples` candidates, [1 or B, samples, ...].
  virtual Tensor perturb(int64_t samples, Noise& noise) const = 0;
  /// Draws -> variables [B,S,...].
  virtual Tensor draw(const Tensor& perturbation) const = 0;
  /// Variables -> actions [B,S,H,A], fresh storage.
  virtual Tensor decode(const Tensor& variables) const = 0;
  /// The variables that `actions` (bounded, fixed slots filled in) stand for.
  virtual Tensor encode(const Tensor& variables, const Tensor& actions) const = 0;
  /// Control cost [B,S] of the candidates, to be added to their cost; undefined: none.
  virtual Tensor control_cost(const Tensor& variables, const Tensor& actions) const = 0;
  /// Moves the distribution to the survivors [B,K,...]. Problems whose weights are all zero stay as
  /// they are.
  virtual void refit(const Tensor& survivors, const Selection& selection) = 0;

  /// [B,H,A], the plan in the middle of the distribution.
  virtual Tensor mean() const = 0;
  /// [B,H,A] standard deviation of the actions; undefined where that has no meaning.
  virtual Tensor std() const = 0;
  /// [B], mean standard deviation.
  virtual Tensor spread() const = 0;
  /// Parameters for the record: mean-like and std-like.
  virtual std::pair<Tensor, Tensor> parameters() const = 0;
  /// Puts what the next solve needs into `warm_start`.
  virtual void remember(WarmStart& warm_start) const = 0;
};

/// Makes the proposal of one solve; `mean` [B,H,A] is the completed warm start or the prior.
using ProposalFactory = std::function<std::unique_ptr<Proposal>(
    const SamplingOptions& options, const Problem& problem, const Tensor& mean)>;

/// The built-in proposals, by SamplingOptions::proposal.
FORESIGHT_API std::unique_ptr<Proposal> make_proposal(const SamplingOptions& options,
                                                      const Problem& problem, const Tensor& mean);

/// [H,H] matrix C with coloured = white [..., H] x C: spectrum 1/f^exponent, the constant component
/// scaled like the lowest frequency; variance not normalised. H = 1: identity. (Pinneri et al.,
/// CoRL 2020.)
FORESIGHT_API Tensor colouring_matrix(int64_t horizon, double exponent);

/// [H,P] weights that interpolate P knots, evenly spaced over the horizon, at times shift, shift+1,
/// ...
FORESIGHT_API Tensor knot_matrix(int64_t horizon, int64_t knots, KnotKernel kernel, double width);
/// [P,P] weights that give the knots of a plan shifted by `blocks`.
FORESIGHT_API Tensor knot_shift_matrix(int64_t horizon, int64_t knots, KnotKernel kernel,
                                       double width, double blocks);

}  // namespace foresight
