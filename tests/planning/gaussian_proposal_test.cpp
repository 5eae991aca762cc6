// SPDX-License-Identifier: Apache-2.0
// How Gaussian proposals draw and refit where numbers degenerate: covariances, frozen dimensions,
// single survivors, few bits.
#include "catch.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"

namespace foresight::gaussian_proposal_test {
namespace {

Problem two_dimensions(int64_t horizon) {
  Problem problem;
  problem.horizon = horizon;
  problem.action.dim = 2;
  problem.cost = [](const Tensor& actions) {
    return Costs{(actions - 0.5).square().sum({2, 3}), {}, {}};
  };
  return problem;
}

Plan searched(const SamplingOptions& options, const Problem& problem) {
  PhiloxNoise noise(3);
  return SamplingPlanner(options).solve(problem, noise);
}

TEST_CASE("coloured noise has the covariance that is asked for") {
  SamplingOptions options{.samples = 4000,
                          .iterations = 1,
                          .elites = 10,
                          .proposal = ProposalKind::coloured,
                          .covariance = {4.0, 1.6, 1.6, 1.0},
                          .noise_scale = NoiseScale::analytic,
                          .mean_candidate = MeanCandidate::never,
                          .std_update = StdUpdate::fixed,
                          .record = PlannerRecord::everything};
  const auto plan = searched(options, two_dimensions(16));
  const auto draws = plan.diagnostics.iteration[0].candidates.reshape({-1, 2}).to(at::kDouble);
  const auto covariance = at::matmul(draws.t(), draws) / static_cast<double>(draws.size(0));
  CHECK(covariance[0][0].item<double>() == Approx(4.0).margin(0.25));
  CHECK(covariance[0][1].item<double>() == Approx(1.6).margin(0.12));
  CHECK(covariance[1][1].item<double>() == Approx(1.0).margin(0.07));
}

TEST_CASE("a dimension without spread costs nothing under a control cost") {
  auto options = mppi();
  options.samples = 64;
  options.initial_mean = {0.25};
  options.initial_std = {1.0, 0.0};
  options.control_cost = 0.1;
  const auto plan = searched(options, two_dimensions(3));
  INFO(plan.message);
  CHECK(plan.status == Status::ok);
  CHECK(plan.diagnostics.non_finite.sum().item<int64_t>() == 0);
  CHECK(plan.actions.select(2, 1).eq(0.25).all().item<bool>());
}

TEST_CASE("a single usable survivor leaves the spread as it was") {
  // In the first iteration one candidate has a cost.
  auto problem = two_dimensions(2);
  problem.cost = [calls = std::make_shared<int>(0), inner = problem.cost](const Tensor& actions) {
    auto costs = inner(actions);
    if ((*calls)++ == 0) costs.total.narrow(1, 1, actions.size(1) - 1).fill_(std::nan(""));
    return costs;
  };
  auto options = lewm_cem();
  options.samples = 300;
  options.iterations = 20;
  options.record = PlannerRecord::everything;
  const auto plan = searched(options, problem);
  CHECK(plan.diagnostics.iteration[0].std.eq(1).all().item<bool>());
  CHECK(plan.diagnostics.iteration[1].std.lt(1).all().item<bool>());
  CHECK((plan.actions - 0.5).abs().max().item<double>() < 0.05);

  options.elites = 1;
  CHECK(searched(options, two_dimensions(2))
            .diagnostics.iteration.back()
            .std.eq(1)
            .all()
            .item<bool>());
  options.min_std = 0.125;  // a floor is where a published search goes then
  CHECK(searched(options, two_dimensions(2))
            .diagnostics.iteration.back()
            .std.eq(0.125)
            .all()
            .item<bool>());
}

TEST_CASE("the mean of equal elites is their value in bfloat16 too, iteration by iteration") {
  // Weights of bfloat16(1/30) sum to 1.0034: 1.984375 would become the next number above it.
  auto problem = two_dimensions(2);
  problem.options = at::kBFloat16;
  SamplingOptions options{.samples = 60,
                          .iterations = 10,
                          .elites = 30,
                          .initial_mean = {1.984375},
                          .initial_std = {0.0}};
  const auto plan = searched(options, problem);
  INFO(plan.message);
  CHECK(plan.actions.scalar_type() == at::kBFloat16);
  CHECK(plan.actions.eq(1.984375).all().item<bool>());
}

}  // namespace
}  // namespace foresight::gaussian_proposal_test
