// SPDX-License-Identifier: Apache-2.0
// Every planner of the library runs the suite that users run on theirs, one test case a planner.
#include "planner_conformance.hpp"

#include "foresight/planning/cma_es_planner.hpp"
#include "foresight/planning/gradient_planner.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/refined_planner.hpp"

namespace foresight::planner_conformance_test {
namespace {

using testing::Actions;
using testing::PlannerPromise;
using testing::Promised;

void conformance(const Planner& planner, const PlannerPromise& promise = {}) {
  testing::planner_conformance(OnTestDevice(planner), promise);
}

void one_candidate_conformance(const Planner& planner, Actions actions = Actions::continuous) {
  testing::single_candidate_conformance(OnTestDevice(planner), actions);
}

SamplingOptions small(SamplingOptions options, int64_t samples = 128, int64_t iterations = 25) {
  options.samples = samples;
  options.iterations = iterations;
  if (options.elites > 1) options.elites = 12;
  return options;
}

SamplingOptions small_mppi(SamplingOptions options) {
  options = small(options, 256, 40);
  options.control_cost = 0;
  options.temperature = 0.1;
  options.temperature_rule = TemperatureRule::divide_by_spread;
  options.initial_std = {0.4};
  return options;
}

constexpr auto kYes = Promised::yes, kNo = Promised::no;

TEST_CASE("CEM keeps the promises of a planner", "[device]") {
  auto options = small(lewm_cem());
  options.bound = BoundKind::box;
  conformance(SamplingPlanner(options), {.escape = kYes});
}

TEST_CASE("CEM without limits keeps the other promises", "[device][long]") {
  conformance(SamplingPlanner(small(lewm_cem())), {.limits = kNo, .escape = kYes});
}

TEST_CASE("CEM with truncated sampling keeps the promises of a planner", "[device][long]") {
  auto options = small(lewm_cem());
  options.bound = BoundKind::truncated;
  conformance(SamplingPlanner(options), {.escape = kYes});
}

TEST_CASE("iCEM keeps the promises of a planner", "[device][long]") {
  conformance(SamplingPlanner(small(icem(), 128, 20)), {.escape = kYes});
}

TEST_CASE("stable-worldmodel's iCEM keeps the promises of a planner", "[device][long]") {
  conformance(SamplingPlanner(small(lewm_icem())), {.escape = kYes});
}

TEST_CASE("MPPI keeps the promises of a planner", "[device][long]") {
  conformance(SamplingPlanner(small_mppi(mppi())), {.accuracy = 0.3});
}

TEST_CASE("TD-MPC2's MPPI keeps the promises of a planner", "[device][long]") {
  auto options = small(tdmpc2(), 256, 30);
  options.returned = Returned::mean;
  // Its temperature is in units of the cost, hence the accuracy.
  options.temperature = 20;
  conformance(SamplingPlanner(options), {.accuracy = 0.3, .escape = kYes});
}

TEST_CASE("MPPI over knots keeps the promises of a planner", "[device]") {
  auto options = small_mppi(kmppi());
  options.temperature = 0.05;
  options.initial_std = {0.5};
  options.knots = 3;
  conformance(SamplingPlanner(options), {.accuracy = 0.4});
}

TEST_CASE("MPPI over rates keeps the promises of a planner", "[device][long]") {
  auto options = small_mppi(smppi());
  options.temperature = 0.05;
  options.initial_std = {0.5};
  conformance(SamplingPlanner(options), {.accuracy = 0.4});
}

TEST_CASE("predictive sampling keeps the promises of a planner", "[device][long]") {
  auto options = predictive_sampling();
  options.samples = 512;
  options.iterations = 30;
  options.initial_std = {0.3};
  conformance(SamplingPlanner(options), {.accuracy = 0.4});
}

TEST_CASE("CEM over a cubic spline keeps the promises of a planner", "[device][long]") {
  auto options = small(lewm_cem());
  options.bound = BoundKind::box;
  options.proposal = ProposalKind::knots;
  options.knot_kernel = KnotKernel::cubic;
  options.knots = 3;
  conformance(SamplingPlanner(options), {.escape = kYes});
}

TEST_CASE("CMA-ES keeps the promises of a planner", "[device][long]") {
  conformance(CmaEsPlanner({.samples = 32, .iterations = 60}), {.accuracy = 0.01});
}

TEST_CASE("separable CMA-ES keeps the promises of a planner", "[device][long]") {
  CmaEsOptions options{.samples = 32, .iterations = 60, .initial_std = {1.0}};
  options.form.covariance = CmaCovariance::separable;
  conformance(CmaEsPlanner(options), {.accuracy = 0.01, .escape = kYes});
}

TEST_CASE("CMA-ES by eigenvectors keeps the promises of a planner", "[device][long]") {
  CmaEsOptions options{.samples = 32, .iterations = 60};
  options.form.factor = CmaFactor::eigen;
  options.returned = Returned::best_ever;
  conformance(CmaEsPlanner(options), {.accuracy = 0.05});
}

TEST_CASE("AdamW through the cost keeps the promises of a planner", "[device]") {
  conformance(GradientPlanner({.samples = 8, .iterations = 60}), {.escape = kYes});
}

TEST_CASE("gradient descent with a clipped norm keeps the promises of a planner",
          "[device][long]") {
  conformance(GradientPlanner({.samples = 4,
                               .iterations = 80,
                               .optimizer = ActionOptimizer::sgd,
                               .learning_rate = 0.2,
                               .clip_norm = 1.0}));
}

TEST_CASE("the Lagrangian planner keeps the promises of a planner", "[device]") {
  LagrangianOptions options;
  options.inner = {
      .samples = 4, .iterations = 30, .optimizer = ActionOptimizer::adam, .learning_rate = 0.1};
  options.outer_iterations = 3;
  conformance(LagrangianPlanner(options));
}

TEST_CASE("CEM with gradient refinement keeps the promises of a planner", "[device][long]") {
  RefinedOptions options{.search = small(lewm_cem(), 64, 12)};
  options.search.bound = BoundKind::box;
  options.polish.iterations = 20;
  conformance(RefinedPlanner(options), {.accuracy = 0.1, .escape = kYes});
}

TEST_CASE("categorical CEM keeps the promises of a planner", "[device]") {
  conformance(SamplingPlanner(small(categorical_cem())), {.actions = Actions::discrete});
}

TEST_CASE("projected gradients keep the promises of a planner", "[device][long]") {
  auto options = pgd();
  options.samples = 8;
  options.learning_rate = 0.2;
  conformance(GradientPlanner(options), {.actions = Actions::discrete});
}

TEST_CASE("categorical CEM with projected gradients keeps the promises of a planner",
          "[device][long]") {
  RefinedOptions options{.search = small(categorical_cem())};
  options.polish = pgd();
  options.polish.samples = 4;
  conformance(RefinedPlanner(options), {.actions = Actions::discrete});
}

TEST_CASE("CEM with one candidate still plans", "[device]") {
  auto options = lewm_cem();
  options.samples = options.elites = 1;
  options.iterations = 3;
  options.mean_candidate = MeanCandidate::never;
  one_candidate_conformance(SamplingPlanner(options));
}

TEST_CASE("MPPI with one candidate still plans", "[device][long]") {
  auto options = mppi();
  options.samples = 1;
  one_candidate_conformance(SamplingPlanner(options));
}

TEST_CASE("categorical CEM with one candidate still plans", "[device][long]") {
  auto options = categorical_cem();
  options.samples = options.elites = 1;
  options.mean_candidate = MeanCandidate::never;
  one_candidate_conformance(SamplingPlanner(options), Actions::discrete);
}

TEST_CASE("gradient planning with one candidate still plans", "[device][long]") {
  one_candidate_conformance(GradientPlanner({.samples = 1}));
}

TEST_CASE("refinement with one candidate still plans", "[device][long]") {
  RefinedOptions options;
  options.search.samples = options.search.elites = 1;
  options.search.mean_candidate = MeanCandidate::never;
  options.polish.samples = 1;
  one_candidate_conformance(RefinedPlanner(options));
}

}  // namespace
}  // namespace foresight::planner_conformance_test
