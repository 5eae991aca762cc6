// SPDX-License-Identifier: Apache-2.0
// Equation numbers are those of the tutorial, arXiv:1604.00772v2.
#include "foresight/planning/cma_es.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

constexpr double kTiny = std::numeric_limits<float>::min();
// Step sizes and variances stay clear of underflow where all samples coincide (a corner of the
// limits) and the search goes on shrinking.
constexpr double kSmallest = 1e-30, kLargest = 1e30;

// The exact mean length of a standard normal vector; the tutorial's series is good to 1e-3.
double mean_length(double n) {
  return M_SQRT2 * std::exp(std::lgamma((n + 1) / 2) - std::lgamma(n / 2));
}

// Negative weights, scaled so that C stays positive definite, (50) to (53).
void scale_negative(std::vector<double>& weights, const CmaParameters& p, double n,
                    double mu_eff_negative) {
  double sum = 0;
  for (const double w : weights) sum += std::min(w, 0.0);
  if (sum == 0) return;
  const double bound = std::min({1 + p.c_1 / p.c_mu, 1 + 2 * mu_eff_negative / (p.mu_eff + 2),
                                 (1 - p.c_1 - p.c_mu) / (n * p.c_mu)});
  for (double& w : weights)
    if (w < 0) w *= -bound / sum;
}

}  // namespace

int64_t cma_default_samples(int64_t variables) {
  return 4 + static_cast<int64_t>(3 * std::log(static_cast<double>(variables)));
}

CmaParameters cma_parameters(int64_t variables, int64_t samples, const CmaForm& form) {
  require(variables >= 1 && samples >= 2, ErrorCategory::invalid_argument,
          fmt::format("CMA-ES needs at least 1 variable and 2 samples, got {} and {}", variables,
                      samples));
  const auto n = static_cast<double>(variables), lambda = static_cast<double>(samples);
  const bool pycma = form.constants == CmaConstants::pycma;
  CmaParameters p;
  double positive = 0, squares = 0, negative = 0, negative_squares = 0;
  for (int64_t i = 1; i <= samples; ++i) {
    const double w = std::log((lambda + 1) / 2) - std::log(static_cast<double>(i));  // (49)
    p.weights.push_back(w);
    (w > 0 ? positive : negative) += w;
    (w > 0 ? squares : negative_squares) += w * w;
  }
  p.mu_eff = positive * positive / squares;
  const double mu_eff_negative =
      negative_squares > 0 ? negative * negative / negative_squares : 0.0;
  p.c_sigma = pycma ? std::min(0.5, (p.mu_eff + 2) / (n + p.mu_eff + 3))
                    : (p.mu_eff + 2) / (n + p.mu_eff + 5);  // (55)
  const double large = pycma ? std::max(1.0, 3 * (1 - std::pow(0.5, n / 9))) : 1.0;
  p.d_sigma = 1 + 2 * std::max(0.0, large * std::sqrt((p.mu_eff - 1) / (n + 1)) - 1) + p.c_sigma;
  p.c_c = (4 + p.mu_eff / n) / (n + 4 + 2 * p.mu_eff / n);  // (56)
  p.c_1 = (pycma ? std::min(1.0, lambda / 6) : 1.0) * 2 / ((n + 1.3) * (n + 1.3) + p.mu_eff);
  const double rate = 2 * (0.25 + p.mu_eff + 1 / p.mu_eff - 2) / ((n + 2) * (n + 2) + p.mu_eff);
  double faster = 1;  // fewer entries are learnt faster
  if (form.covariance == CmaCovariance::separable) faster = (n + 2) / 3;
  p.c_1 = std::min(1.0, p.c_1 * faster);
  p.c_mu = std::min(1 - p.c_1, rate * faster);  // (58)
  p.chi_n = mean_length(n);
  const double relative = (1.4 + 2 / (n + 1)) * p.chi_n;
  p.stall = pycma ? n * (2 + 4 / (n + 1)) : relative * relative;

  for (double& w : p.weights) {
    if (w > 0) w /= positive;
    if (w < 0 && form.weights == CmaWeights::positive) w = 0;
  }
  scale_negative(p.weights, p, n, mu_eff_negative);
  if (form.covariance == CmaCovariance::full)
    p.generations_between_factors =
        std::max<int64_t>(1, static_cast<int64_t>(1 / (10 * n * (p.c_1 + p.c_mu))));
  return p;
}

CmaEs::CmaEs(CmaParameters parameters, const CmaForm& form, const Tensor& mean, double sigma,
             const Tensor& variances)
    : parameters_(std::move(parameters)), form_(form) {
  check_shape("CmaEs mean", mean, {kAny, kAny}, "[B,n]");
  require(std::isfinite(sigma) && sigma > 0, ErrorCategory::invalid_argument,
          fmt::format("CmaEs: sigma = {} must be positive and finite", sigma));
  const auto batch = mean.size(0), n = mean.size(1);
  if (variances.defined()) check_shape("CmaEs variances", variances, {n}, "[n]");
  weights_ = at::tensor(parameters_.weights, at::kDouble).to(mean.options());
  state_.mean = mean;
  state_.sigma = at::full({batch, 1}, sigma, mean.options());
  state_.path_sigma = state_.path_covariance = at::zeros_like(mean);
  const auto diagonal =
      (variances.defined() ? variances.to(mean.options()) : at::ones({n}, mean.options()))
          .expand({batch, n});
  const auto stretch = diagonal.sqrt();
  const bool full = form.covariance == CmaCovariance::full;
  state_.covariance = full ? at::diag_embed(diagonal) : diagonal;
  state_.factor = full ? at::diag_embed(stretch) : stretch;
  const auto shrink = stretch.clamp_min(kTiny).reciprocal();
  state_.whitening = full ? at::diag_embed(shrink) : shrink;
}

Tensor CmaEs::ask(const Tensor& draws) const {
  check_shape("CmaEs draws", draws, {kAny, kAny, state_.mean.size(1)}, "[B,lambda,n]");
  const auto steps = form_.covariance == CmaCovariance::full
                         ? at::matmul(draws, state_.factor.transpose(1, 2))
                         : draws * state_.factor.unsqueeze(1);
  return at::addcmul(state_.mean.unsqueeze(1), steps, state_.sigma.unsqueeze(-1));
}

Tensor CmaEs::whitened(const Tensor& steps) const {
  return form_.covariance == CmaCovariance::full
             ? at::matmul(steps, state_.whitening.transpose(1, 2))
             : steps * state_.whitening.unsqueeze(1);
}

Tensor CmaEs::injectable(const Tensor& samples) const {
  const auto n = static_cast<double>(state_.mean.size(1));
  const auto steps = samples - state_.mean.unsqueeze(1);
  const auto length =
      at::sqrt(whitened(steps / state_.sigma.unsqueeze(-1)).square().sum(-1, /*keepdim=*/true));
  const double longest = std::sqrt(n) + 2 * n / (n + 2);
  return state_.mean.unsqueeze(1) + steps * (longest / length.clamp_min(kTiny)).clamp_max(1.0);
}

Tensor CmaEs::std() const {
  const auto variance = form_.covariance == CmaCovariance::full
                            ? state_.covariance.diagonal(0, 1, 2)
                            : state_.covariance;
  return state_.sigma * variance.clamp_min(0.0).sqrt();
}

void CmaEs::tell(const Tensor& ranked, const Tensor& usable) {
  const auto& p = parameters_;
  const auto batch = state_.mean.size(0), n = state_.mean.size(1);
  check_shape("CmaEs samples", ranked, {batch, p.samples(), n}, "[B,lambda,n]");
  const auto steps = (ranked - state_.mean.unsqueeze(1)) / state_.sigma.unsqueeze(-1);

  // Weights of the mean: unusable samples leave, the rest is brought back to a sum of 1.
  auto positive = weights_.clamp_min(0.0).expand({batch, p.samples()});
  Tensor any;
  if (usable.defined()) {
    positive = positive * usable;
    const auto sum = positive.sum(1, /*keepdim=*/true);
    any = sum.gt(0);
    positive = positive / sum.clamp_min(kTiny);
  }
  const auto step = (steps * positive.unsqueeze(-1)).sum(1);  // (41)

  CmaState next = state_;
  next.mean = state_.mean + state_.sigma * step;  // (42)
  next.path_sigma =
      (1 - p.c_sigma) * state_.path_sigma + std::sqrt(p.c_sigma * (2 - p.c_sigma) * p.mu_eff) *
                                                whitened(step.unsqueeze(1)).squeeze(1);  // (43)
  const auto squared = next.path_sigma.square().sum(1, /*keepdim=*/true);
  const auto grown = (p.c_sigma / p.d_sigma * (squared.sqrt() / p.chi_n - 1)).clamp(-1.0, 1.0);
  next.sigma = (state_.sigma * grown.exp())
                   .clamp(kSmallest, kLargest);  // (44), a factor of at most e a generation
  const double started =
      1 - std::pow(1 - p.c_sigma, 2 * static_cast<double>(state_.generation + 1));
  const auto moves = squared.div(started).lt(p.stall).to(step.scalar_type());  // h_sigma
  next.path_covariance = (1 - p.c_c) * state_.path_covariance +
                         moves * step * std::sqrt(p.c_c * (2 - p.c_c) * p.mu_eff);  // (45)
  next.covariance = adapted_covariance(steps, positive, moves, next.path_covariance);
  if (any.defined()) {
    const auto keep = [&](Tensor& now, const Tensor& before) {
      now = at::where(now.dim() == 3 ? any.unsqueeze(-1) : any, now, before);
    };
    keep(next.mean, state_.mean);
    keep(next.sigma, state_.sigma);
    keep(next.path_sigma, state_.path_sigma);
    keep(next.path_covariance, state_.path_covariance);
    keep(next.covariance, state_.covariance);
  }
  ++next.generation;
  state_ = std::move(next);
  if (form_.covariance == CmaCovariance::separable ||
      state_.generation - state_.factored >= p.generations_between_factors)
    refactor();
}

// (46) and (47): what decays, the evolution path, and the weighted steps; negative weights only
// count directions.
Tensor CmaEs::adapted_covariance(const Tensor& steps, const Tensor& positive, const Tensor& moves,
                                 const Tensor& path) const {
  const auto& p = parameters_;
  const auto n = static_cast<double>(state_.mean.size(1));
  const double total = std::accumulate(p.weights.begin(), p.weights.end(), 0.0);
  const auto c_1 = p.c_1 * (1 - (1 - moves) * (p.c_c * (2 - p.c_c)));  // [B,1]
  const auto kept = 1 - c_1 - p.c_mu * total;
  auto weight = positive;
  if (p.weights.back() < 0) {
    // pycma's guard: added to the length, not to its square.
    const auto length = at::sqrt(whitened(steps).square().sum(-1)) + 1e-9;
    weight = weight + weights_.clamp_max(0.0) * n / length.square();
  }
  const auto weighted = steps * (p.c_mu * weight).unsqueeze(-1);
  if (form_.covariance == CmaCovariance::separable)
    return kept * state_.covariance + p.c_1 * path.square() + (weighted * steps).sum(1);
  return kept.unsqueeze(-1) * state_.covariance + p.c_1 * path.unsqueeze(2) * path.unsqueeze(1) +
         at::matmul(weighted.transpose(1, 2), steps);
}

void CmaEs::refactor() {
  state_.factored = state_.generation;
  auto& c = state_.covariance;
  // What the number type can tell apart of the largest variance; below it directions have died out.
  const double resolution = c.scalar_type() == at::kDouble ? 1e-14 : 1e-7;
  if (form_.covariance == CmaCovariance::separable) {
    c = at::maximum(c, resolution * c.amax(1, /*keepdim=*/true)).clamp_min(kSmallest);
    state_.factor = c.sqrt();
    state_.whitening = state_.factor.reciprocal();
    return;
  }
  c = (c + c.transpose(1, 2)) / 2;
  if (form_.factor == CmaFactor::eigen) {
    const auto [values, vectors] = at::linalg_eigh(c);
    const auto lengths = at::maximum(values, resolution * values.amax(1, /*keepdim=*/true))
                             .clamp_min(kSmallest)
                             .sqrt()
                             .unsqueeze(1);
    state_.factor = vectors * lengths;
    state_.whitening = at::matmul(vectors / lengths, vectors.transpose(1, 2));
    return;
  }
  const auto jitter = resolution * c.diagonal(0, 1, 2).amax(1, /*keepdim=*/true);
  const auto [factor, info] =
      at::linalg_cholesky_ex(c + at::diag_embed(jitter.expand({c.size(0), c.size(1)})));
  const auto sound = info.eq(0).reshape({-1, 1, 1});
  const auto identity = at::eye(c.size(1), c.options());
  const auto used = at::where(sound, factor, identity);
  const auto inverse =
      at::linalg_solve_triangular(used, identity.expand(c.sizes()), /*upper=*/false);
  // Where negative weights made C indefinite, the last sound factor goes on.
  state_.factor = at::where(sound, factor, state_.factor);
  state_.whitening = at::where(sound, inverse, state_.whitening);
}

}  // namespace foresight
