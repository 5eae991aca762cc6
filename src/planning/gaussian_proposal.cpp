// SPDX-License-Identifier: Apache-2.0
#include "gaussian_proposal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "cpu_loops.hpp"
#include "foresight/core/error.hpp"

namespace foresight::detail {
namespace {

// Momentum as a tensor, or undefined where it would multiply by zero.
Tensor momentum_row(const std::vector<double>& values, const Problem& problem,
                    std::string_view name) {
  if (std::all_of(values.begin(), values.end(), [](double v) { return v == 0; })) return {};
  return per_dimension(values, problem, name);
}

Tensor blended(const Tensor& old_value, const Tensor& new_value, const Tensor& momentum) {
  if (!momentum.defined()) return new_value;
  return old_value * momentum + new_value * (1.0 - momentum);
}

// Row-major covariance over the raw dimensions (repeated for each action of the block) or the whole
// block, [A,A].
Tensor covariance_matrix(const std::vector<double>& values, const Problem& problem) {
  const auto dim = problem.action.dim, width = problem.width();
  const auto count = static_cast<int64_t>(values.size());
  require(count == dim * dim || count == width * width, ErrorCategory::invalid_option,
          fmt::format("SamplingOptions.covariance has {} values, expected {}x{} or {}x{}", count,
                      dim, dim, width, width));
  const auto flat = at::tensor(values, at::kDouble);
  if (count == width * width) return flat.reshape({width, width});
  const auto block = flat.reshape({dim, dim});
  return at::block_diag(std::vector<Tensor>(static_cast<std::size_t>(problem.action.block), block));
}

Tensor cholesky_factor(const Tensor& covariance) {
  const auto [factor, info] = at::linalg_cholesky_ex(covariance);
  require(info.item<int64_t>() == 0, ErrorCategory::invalid_option,
          "SamplingOptions.covariance must be symmetric positive definite");
  return factor;
}

// A standard normal mapped monotonically to a normal truncated at +-2, by way of its distribution
// function.
Tensor truncated_at_two(const Tensor& z) {
  constexpr double kInside = 0.9544997361036416;  // P(|z| < 2)
  const auto centred = at::erf(z * M_SQRT1_2);    // 2 Phi(z) - 1
  return at::erfinv(centred * kInside) * M_SQRT2;
}

}  // namespace

GaussianProposal::GaussianProposal(const SamplingOptions& options, const Problem& problem,
                                   Tensor mean)
    : options_(options), problem_(problem), limits_(block_limits(problem)), mean_(std::move(mean)) {
  require(!problem.action.discrete, ErrorCategory::invalid_argument,
          "Gaussian search needs a continuous ActionSpace; use categorical for a discrete one");
  const auto deviation = per_dimension(options.initial_std, problem, "SamplingOptions.initial_std");
  std_ = deviation.expand_as(mean_).contiguous();
  if (!options.covariance.empty()) {
    const auto covariance = covariance_matrix(options.covariance, problem);
    factor_ = cholesky_factor(covariance).to(problem.options);
    precision_ = at::inverse(covariance).to(problem.options);
    std_ = covariance.diagonal().sqrt().to(problem.options).expand_as(mean_);
  } else if (options.control_cost > 0) {
    // A dimension without spread does not deviate: at zero cost, not at zero times infinity.
    precision_ = deviation.pow(-2).masked_fill(deviation.eq(0), 0.0);
  }
  if (!options.noise_mean.empty())
    offset_ = per_dimension(options.noise_mean, problem, "SamplingOptions.noise_mean");
  if (options.proposal == ProposalKind::coloured && problem.horizon > 1) {
    auto matrix = colouring_matrix(problem.horizon, options.noise_exponent);
    if (options.noise_scale == NoiseScale::analytic)
      matrix = matrix / at::sqrt(matrix.square().sum() / static_cast<double>(problem.horizon));
    colouring_ = matrix.to(problem.options);
  }
  mean_momentum_ = momentum_row(options.mean_momentum, problem, "SamplingOptions.mean_momentum");
  std_momentum_ = momentum_row(options.std_momentum, problem, "SamplingOptions.std_momentum");
}

Tensor GaussianProposal::perturb(int64_t samples, Noise& noise) const {
  const auto batch = options_.noise_sharing == NoiseSharing::shared ? 1 : problem_.batch;
  const auto rows = mean_.size(1), width = mean_.size(2);
  if (options_.proposal == ProposalKind::coloured) {
    // Time is the last axis of the draw, as in stable-worldmodel.
    auto draws = noise.normal({batch, samples, width, rows}, problem_.options);
    if (colouring_.defined()) {
      draws = at::matmul(draws, colouring_);
      if (options_.noise_scale == NoiseScale::per_sequence)
        draws = draws / draws.std(-1, /*unbiased=*/true, /*keepdim=*/true).clamp_min(1e-8);
    }
    return correlated(draws.transpose(-1, -2).contiguous());
  }
  return correlated(noise.normal({batch, samples, rows, width}, problem_.options));
}

Tensor GaussianProposal::correlated(const Tensor& draws) const {
  return factor_.defined() ? at::matmul(draws, factor_.transpose(0, 1)) : draws;
}

Tensor GaussianProposal::draw(const Tensor& perturbation) const {
  const auto centre = offset_.defined() ? mean_ + offset_ : mean_;
  if (factor_.defined()) return centre.unsqueeze(1) + perturbation;
  if (options_.bound == BoundKind::truncated) {
    auto deviation = std_;
    if (limits_.active())
      deviation =
          at::minimum(deviation, at::minimum((mean_ - limits_.low) / 2, (limits_.high - mean_) / 2))
              .clamp_min(0.0);
    return spread_around(centre, truncated_at_two(perturbation), deviation);
  }
  return spread_around(centre, perturbation, std_);
}

Tensor GaussianProposal::weighted_control_cost(const Tensor& nominal, const Tensor& values) const {
  if (options_.control_cost <= 0) return {};
  const auto pull =
      (precision_.dim() == 2 ? at::matmul(nominal, precision_) : nominal * precision_) *
      options_.control_cost;
  return weighted_deviation(values, nominal, pull,
                            options_.absolute_noise_cost ? Deviation::absolute : Deviation::plain);
}

Tensor GaussianProposal::control_cost(const Tensor&, const Tensor& actions) const {
  return weighted_control_cost(mean_, actions);
}

void GaussianProposal::refit(const Tensor& given, const Selection& selection) {
  // In bfloat16 thirty weights of 1/30 sum to 1.003, which would push the mean away from zero in
  // every iteration.
  const bool few_bits = at::isReducedFloatingType(given.scalar_type());
  const auto survivors = few_bits ? given.to(at::kFloat) : given;
  const auto weight = selection.weight.to(survivors.scalar_type());
  const auto centre = weighted_mean(survivors, weight);
  if (options_.std_update != StdUpdate::fixed) {
    auto variance = weighted_variance(survivors, weight, centre);
    if (options_.std_update == StdUpdate::unbiased) {
      // 1 / (1 - sum w^2): n / (n - 1) for n equal weights.
      const auto concentration = selection.concentration.to(survivors.scalar_type()).unsqueeze(-1);
      variance = variance / (1.0 - concentration).clamp_min(1e-6);
    }
    if (options_.variance_offset > 0) variance = variance + options_.variance_offset;
    auto deviation = options_.std_momentum_of == StdMomentum::variance
                         ? at::sqrt(blended(std_.square(), variance, std_momentum_))
                         : blended(std_, at::sqrt(variance), std_momentum_);
    if (options_.min_std > 0) deviation = deviation.clamp_min(options_.min_std);
    if (options_.max_std > 0) deviation = deviation.clamp_max(options_.max_std);
    // A single usable survivor has no spread; without a floor the search would end there.
    const bool floor = options_.min_std > 0 || options_.variance_offset > 0;
    const auto several = floor ? selection.any : selection.any & selection.concentration.lt(1.0);
    std_ = rows_where(several, deviation.to(std_.scalar_type()), std_);
  }
  mean_ = rows_where(selection.any, blended(mean_, centre, mean_momentum_).to(mean_.scalar_type()),
                     mean_);
}

Tensor GaussianProposal::spread() const { return row_mean(std_); }

int64_t knot_count(const SamplingOptions& options, int64_t horizon) {
  const auto wanted = options.knots > 0 ? options.knots : horizon / 2;
  return std::clamp<int64_t>(wanted, 1, horizon);
}

KnotProposal::KnotProposal(const SamplingOptions& options, const Problem& problem,
                           const Tensor& mean)
    : GaussianProposal(options, problem, mean), nominal_(mean) {
  const auto knots = knot_count(options, problem.horizon);
  const auto matrix =
      knot_matrix(problem.horizon, knots, options.knot_kernel, options.kernel_width);
  weights_ = matrix.to(problem.options);
  const auto remembered = find_term(problem.warm_start.memory, "knots");
  mean_ = remembered.defined() && remembered.dim() == 3 && remembered.size(1) == knots
              ? remembered.to(problem.options)
              : at::matmul(at::linalg_pinv(matrix).to(problem.options), mean);
  std_ = std_.narrow(1, 0, 1).expand_as(mean_);
}

// One matrix product over all candidates, instead of a small one for each.
Tensor KnotProposal::decode(const Tensor& variables) const {
  return at::matmul(variables.transpose(-1, -2).contiguous(), weights_.transpose(0, 1))
      .transpose(-1, -2)
      .contiguous();
}

Tensor KnotProposal::draw(const Tensor& perturbation) const {
  const auto variables = GaussianProposal::draw(perturbation);
  if (!limits_.active() || options_.bound != BoundKind::box) return variables;
  return at::clamp(variables, limits_.low, limits_.high);
}

Tensor KnotProposal::control_cost(const Tensor&, const Tensor& actions) const {
  return weighted_control_cost(nominal_, actions);
}

void KnotProposal::refit(const Tensor& survivors, const Selection& selection) {
  GaussianProposal::refit(survivors, selection);
  nominal_ = mean();
}

Tensor KnotProposal::std() const { return at::sqrt(at::matmul(weights_.square(), std_.square())); }

void KnotProposal::remember(WarmStart& warm_start) const {
  warm_start.mean = mean();
  warm_start.memory.emplace_back("knots", mean_);
}

RateProposal::RateProposal(const SamplingOptions& options, const Problem& problem,
                           const Tensor& mean)
    : GaussianProposal(options, problem,
                       per_dimension(options.initial_mean, problem, "SamplingOptions.initial_mean")
                           .expand_as(mean)),
      base_(mean),
      step_(at::full_like(mean, options.rate_step)) {
  const auto remembered = find_term(problem.warm_start.memory, "rates");
  if (remembered.defined() && remembered.sizes() == mean.sizes())
    mean_ = remembered.to(problem.options);
  if (!options.max_rate.empty())
    max_rate_ = per_dimension(options.max_rate, problem, "SamplingOptions.max_rate");
}

Tensor RateProposal::draw(const Tensor& perturbation) const {
  const auto variables = GaussianProposal::draw(perturbation);
  return max_rate_.defined() ? at::clamp(variables, -max_rate_, max_rate_) : variables;
}

Tensor RateProposal::decode(const Tensor& variables) const {
  return spread_around(base_, variables, step_);
}

Tensor RateProposal::encode(const Tensor&, const Tensor& actions) const {
  const auto change = actions - base_.unsqueeze(1);
  return options_.rate_step == 1.0 ? change : change / options_.rate_step;
}

Tensor RateProposal::control_cost(const Tensor& variables, const Tensor&) const {
  return weighted_control_cost(mean_, variables);
}

void RateProposal::remember(WarmStart& warm_start) const {
  warm_start.mean = mean();
  warm_start.memory.emplace_back("rates", mean_);
}

}  // namespace foresight::detail
