// SPDX-License-Identifier: Apache-2.0
// Gaussian search over blocks, coloured blocks, knots and rates; categorical search over symbols.
#include "foresight/planning/proposal.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"
#include "gaussian_proposal.hpp"

namespace foresight {

Limits block_limits(const Problem& problem) {
  if (!problem.action.bounded() || problem.action.discrete) return {};
  return {problem.action.block_low(problem.options), problem.action.block_high(problem.options)};
}

Tensor per_dimension(const std::vector<double>& values, const Problem& problem,
                     std::string_view name) {
  const auto count = static_cast<int64_t>(values.size());
  const auto width = problem.width(), dim = problem.action.dim;
  require(count == 1 || count == dim || count == width, ErrorCategory::invalid_option,
          fmt::format("{} has {} values, expected 1, {} (one per raw dimension) or {} (one per "
                      "element of a block)",
                      name, count, dim, width));
  std::vector<double> row;
  for (int64_t i = 0; i < width; ++i) row.push_back(values[static_cast<std::size_t>(i % count)]);
  const auto type = c10::typeMetaToScalarType(problem.options.dtype());
  // at::tensor() makes no half or bfloat16.
  if (at::isReducedFloatingType(type))
    return at::tensor(row, problem.options.dtype(at::kFloat)).to(type);
  return at::tensor(row, problem.options);
}

namespace {

// Smallest probability and uniform inside a logarithm; a symbol of probability 0 stays barely
// possible.
constexpr double kSmallest = 1e-10;

/// Independent categorical distributions per raw action; mean_momentum averages probabilities.
class CategoricalProposal final : public Proposal {
 public:
  CategoricalProposal(const SamplingOptions& options, const Problem& problem)
      : problem_(problem), smoothing_(options.smoothing), shared_(options.noise_sharing) {
    require(problem.action.discrete, ErrorCategory::invalid_argument,
            "categorical search needs a discrete ActionSpace");
    require(options.mean_momentum.size() == 1, ErrorCategory::invalid_option,
            "SamplingOptions.mean_momentum must have one value for categorical search");
    momentum_ = options.mean_momentum.front();
    symbols_ = problem.action.dim;
    probabilities_ = at::full({problem.batch, problem.horizon, problem.action.block, symbols_},
                              1.0 / static_cast<double>(symbols_), problem.options);
  }

  Tensor perturb(int64_t samples, Noise& noise) const override {
    return noise.uniform({shared_ == NoiseSharing::shared ? 1 : problem_.batch, samples,
                          problem_.horizon, problem_.action.block, symbols_},
                         problem_.options);
  }

  // Gumbel-max: arg max of log p - log(-log u) is distributed as p.
  Tensor draw(const Tensor& uniform) const override {
    const auto gumbel = -at::log(-at::log(uniform.clamp_min(kSmallest)));
    return one_hot(probabilities_.clamp_min(kSmallest).log().unsqueeze(1) + gumbel).flatten(-2);
  }
  Tensor decode(const Tensor& variables) const override { return variables; }
  Tensor encode(const Tensor&, const Tensor& actions) const override { return actions; }
  Tensor control_cost(const Tensor&, const Tensor&) const override { return {}; }

  void refit(const Tensor& survivors, const Selection& selection) override {
    // Weights relative to the largest: equal ones then count in whole numbers, and symbols that are
    // equally frequent stay exactly tied.
    const auto given = selection.weight.to(survivors.scalar_type());
    const auto largest = given.amax(1, /*keepdim=*/true);
    const auto weight = given / largest.clamp_min(std::numeric_limits<float>::min());
    const auto total = weight.sum(1).clamp_min(std::numeric_limits<float>::min());
    auto frequency =
        ((survivors * weight.unsqueeze(-1).unsqueeze(-1)).sum(1) / total.reshape({-1, 1, 1}))
            .reshape(probabilities_.sizes());
    if (smoothing_ > 0) {
      frequency = frequency + smoothing_;
      frequency = frequency / frequency.sum(-1, /*keepdim=*/true);
    }
    if (momentum_ > 0) frequency = probabilities_ * momentum_ + frequency * (1.0 - momentum_);
    const auto any = largest.gt(0).reshape({-1, 1, 1, 1});
    probabilities_ = at::where(any, frequency, probabilities_);
  }

  Tensor mean() const override { return one_hot(probabilities_).flatten(-2); }
  Tensor std() const override { return {}; }
  Tensor spread() const override {
    return at::sqrt(probabilities_ * (1.0 - probabilities_)).mean({1, 2, 3});
  }
  std::pair<Tensor, Tensor> parameters() const override { return {probabilities_, Tensor()}; }
  void remember(WarmStart& warm_start) const override { warm_start.mean = mean(); }

 private:
  static Tensor one_hot(const Tensor& score) {
    return at::zeros_like(score).scatter_(-1, score.argmax(-1, /*keepdim=*/true), 1.0);
  }

  const Problem& problem_;
  double smoothing_, momentum_ = 0;
  NoiseSharing shared_;
  int64_t symbols_ = 0;
  Tensor probabilities_;  // [B,H,block,symbols]
};

// Time of knot p, in blocks.
std::vector<double> knot_times(int64_t horizon, int64_t knots) {
  std::vector<double> times(static_cast<std::size_t>(knots), 0.0);
  for (int64_t p = 0; p < knots && knots > 1; ++p)
    times[static_cast<std::size_t>(p)] =
        static_cast<double>(p) * static_cast<double>(horizon - 1) / static_cast<double>(knots - 1);
  return times;
}

// Adds to `row` the weights of a cubic piece at `t` between the knots left and right. Slopes at the
// knots are those between their neighbours (Catmull-Rom), at the ends those of the last piece, so
// that plans have no kinks.
void add_cubic(double* row, const std::vector<double>& knot, int64_t left, int64_t right,
               double t) {
  const auto time_of = [&](int64_t i) { return knot[static_cast<std::size_t>(i)]; };
  const auto add_slope = [&](int64_t i, double weight) {
    const auto before = std::max<int64_t>(i - 1, 0);
    const auto after = std::min(i + 1, static_cast<int64_t>(knot.size()) - 1);
    row[after] += weight / (time_of(after) - time_of(before));
    row[before] -= weight / (time_of(after) - time_of(before));
  };
  const double gap = time_of(right) - time_of(left), s = (t - time_of(left)) / gap;
  row[left] += (1 + 2 * s) * (1 - s) * (1 - s);  // Hermite's basis
  row[right] += s * s * (3 - 2 * s);
  add_slope(left, gap * s * (1 - s) * (1 - s));
  add_slope(right, gap * s * s * (s - 1));
}

// Weights of knots at `knot` for the values at `time`, double.
Tensor interpolation(const std::vector<double>& time, const std::vector<double>& knot,
                     KnotKernel kernel, double width) {
  const auto rows = static_cast<int64_t>(time.size()), count = static_cast<int64_t>(knot.size());
  if (kernel == KnotKernel::rbf) {
    const auto t = at::tensor(time, at::kDouble), p = at::tensor(knot, at::kDouble);
    const auto gram = [&](const Tensor& x, const Tensor& y) {
      // 1e-8 as in pytorch_mppi's kernel: keeps width = 0 finite and the numbers identical.
      return at::exp(-(x.unsqueeze(1) - y.unsqueeze(0)).square() / (1e-8 + 2 * width * width));
    };
    return at::linalg_solve(gram(p, p), gram(p, t)).transpose(0, 1).contiguous();
  }
  auto weights = at::zeros({rows, count}, at::kDouble);
  auto* out = weights.data_ptr<double>();
  for (int64_t i = 0; i < rows; ++i) {
    const double t = std::clamp(time[static_cast<std::size_t>(i)], knot.front(), knot.back());
    const auto next = std::upper_bound(knot.begin(), knot.end(), t);
    const auto left = std::max<int64_t>(0, std::distance(knot.begin(), next) - 1);
    const auto right = std::min(left + 1, count - 1);
    const double gap = knot[static_cast<std::size_t>(right)] - knot[static_cast<std::size_t>(left)];
    if (kernel == KnotKernel::cubic && gap > 0) {
      add_cubic(out + i * count, knot, left, right, t);
      continue;
    }
    const double share = kernel == KnotKernel::linear && gap > 0
                             ? (t - knot[static_cast<std::size_t>(left)]) / gap
                             : 0.0;
    out[i * count + left] += 1.0 - share;
    out[i * count + right] += share;
  }
  return weights;
}

}  // namespace

Tensor colouring_matrix(int64_t horizon, double exponent) {
  require(horizon >= 1, ErrorCategory::invalid_argument,
          fmt::format("colouring_matrix: horizon = {} must be >= 1", horizon));
  auto identity = at::eye(horizon, at::kDouble);
  if (horizon == 1) return identity;
  auto frequency = at::arange(horizon / 2 + 1, at::kDouble) / static_cast<double>(horizon);
  frequency[0] = frequency[1];
  const auto scale = frequency.pow(-exponent / 2);
  return at::fft_irfft(at::fft_rfft(identity) * scale, horizon);
}

Tensor knot_matrix(int64_t horizon, int64_t knots, KnotKernel kernel, double width) {
  require(horizon >= 1 && knots >= 1 && knots <= horizon, ErrorCategory::invalid_argument,
          fmt::format("knot_matrix: knots = {} must be in 1..H = {}", knots, horizon));
  std::vector<double> time(static_cast<std::size_t>(horizon));
  for (std::size_t h = 0; h < time.size(); ++h) time[h] = static_cast<double>(h);
  return interpolation(time, knot_times(horizon, knots), kernel, width);
}

Tensor knot_shift_matrix(int64_t horizon, int64_t knots, KnotKernel kernel, double width,
                         double blocks) {
  const auto knot = knot_times(horizon, knots);
  auto time = knot;
  for (auto& t : time) t += blocks;
  return interpolation(time, knot, kernel, width);
}

std::unique_ptr<Proposal> make_proposal(const SamplingOptions& options, const Problem& problem,
                                        const Tensor& mean) {
  switch (options.proposal) {
    case ProposalKind::categorical:
      return std::make_unique<CategoricalProposal>(options, problem);
    case ProposalKind::knots:
      return std::make_unique<detail::KnotProposal>(options, problem, mean);
    case ProposalKind::action_rates:
      return std::make_unique<detail::RateProposal>(options, problem, mean);
    default:
      return std::make_unique<detail::GaussianProposal>(options, problem, mean);
  }
}

}  // namespace foresight
