// SPDX-License-Identifier: Apache-2.0
// The Gaussian proposals. One class samples and refits any sequence of rows; knots and rates derive
// from it and only say how rows become actions.
#pragma once

#include "foresight/planning/proposal.hpp"

namespace foresight::detail {

/// Independent (or coloured) normal rows [L,A] around a mean; L = H here.
class GaussianProposal : public Proposal {
 public:
  GaussianProposal(const SamplingOptions& options, const Problem& problem, Tensor mean);

  Tensor perturb(int64_t samples, Noise& noise) const override;
  Tensor draw(const Tensor& perturbation) const override;
  Tensor decode(const Tensor& variables) const override { return variables; }
  Tensor encode(const Tensor&, const Tensor& actions) const override { return actions; }
  Tensor control_cost(const Tensor& variables, const Tensor& actions) const override;
  void refit(const Tensor& survivors, const Selection& selection) override;
  Tensor mean() const override { return mean_; }
  Tensor std() const override { return std_; }
  Tensor spread() const override;
  std::pair<Tensor, Tensor> parameters() const override { return {mean_, std_}; }
  void remember(WarmStart& warm_start) const override { warm_start.mean = mean(); }

 protected:
  /// lambda * sum_t u_t' Sigma^-1 (v - u)_t for u [B,H,A] and v [B,S,H,A]; undefined if lambda = 0.
  Tensor weighted_control_cost(const Tensor& nominal, const Tensor& values) const;

  const SamplingOptions& options_;
  const Problem& problem_;
  Limits limits_;
  Tensor mean_;  // [B,L,A]
  Tensor std_;   // [B,L,A]

 private:
  Tensor correlated(const Tensor& draws) const;  // [...,A] with the covariance, if there is one

  Tensor factor_;     // [A,A] Cholesky factor of the covariance; undefined: diagonal
  Tensor precision_;  // [A,A] or [A]: Sigma^-1
  Tensor offset_;     // [A] noise mean; undefined: zero
  Tensor colouring_;  // [H,H]; undefined: white
  Tensor mean_momentum_, std_momentum_;  // [A]; undefined: zero
};

/// Control points, interpolated by a constant matrix (KMPPI: arXiv 2410.09240, after pytorch_mppi).
class KnotProposal final : public GaussianProposal {
 public:
  KnotProposal(const SamplingOptions& options, const Problem& problem, const Tensor& mean);

  Tensor draw(const Tensor& perturbation) const override;
  Tensor decode(const Tensor& variables) const override;
  Tensor encode(const Tensor& variables, const Tensor&) const override { return variables; }
  Tensor control_cost(const Tensor& variables, const Tensor& actions) const override;
  void refit(const Tensor& survivors, const Selection& selection) override;
  Tensor mean() const override { return at::matmul(weights_, mean_); }
  Tensor std() const override;
  void remember(WarmStart& warm_start) const override;

 private:
  Tensor weights_;  // [H,P]
  Tensor nominal_;  // [B,H,A] what the control cost counts from: the shifted plan, then the
                    // refitted one
};

/// Rates of change, integrated over the last plan (SMPPI, arXiv 2112.09988).
class RateProposal final : public GaussianProposal {
 public:
  RateProposal(const SamplingOptions& options, const Problem& problem, const Tensor& mean);

  Tensor draw(const Tensor& perturbation) const override;
  Tensor decode(const Tensor& variables) const override;
  Tensor encode(const Tensor& variables, const Tensor& actions) const override;
  Tensor control_cost(const Tensor& variables, const Tensor& actions) const override;
  Tensor mean() const override { return base_ + mean_ * options_.rate_step; }
  Tensor std() const override { return std_ * options_.rate_step; }
  void remember(WarmStart& warm_start) const override;

 private:
  Tensor base_;      // [B,H,A] the plan that rates are added to
  Tensor step_;      // [B,H,A] full of rate_step
  Tensor max_rate_;  // [A] or undefined
};

/// P for this horizon: the option, or half the horizon.
int64_t knot_count(const SamplingOptions& options, int64_t horizon);

}  // namespace foresight::detail
