// SPDX-License-Identifier: Apache-2.0
// Searches by a quick cost and by the exact one it stands for end alike, with few exact
// evaluations.
#include "foresight/planning/recheck.hpp"

#include <c10/core/GradMode.h>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/objective.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"
#include "point_mass.hpp"

namespace foresight::recheck_test {
namespace {

constexpr double kError = 0.05;

// A cost in two terms over candidates [B,S,H,A].
Costs exact_costs(const Tensor& actions) {
  const auto far = (actions - 0.5).square().sum({2, 3}), wild = at::cos(3 * actions).sum({2, 3});
  return {far + wild, {{"far", far}, {"wild", wild}}, {}};
}

// The same with an offset and errors of deviation `error`, a function of the candidate alone.
Costs quick_costs(const Tensor& actions, double error = kError) {
  auto costs = exact_costs(actions);
  const auto bits = at::frac(at::sin((actions * 97).sum({2, 3})) * 43758.5453).abs();
  const auto wrong = error * std::sqrt(12.0) * (bits - 0.5) - 0.3;
  costs.terms[1].second = costs.terms[1].second + wrong;
  costs.total = costs.total + wrong;
  return costs;
}

// Counts the candidates of each problem that it is asked about.
struct Counted {
  std::shared_ptr<int64_t> candidates = std::make_shared<int64_t>(0);
  Costs operator()(const Tensor& actions) const {
    *candidates += actions.size(1);
    return exact_costs(actions);
  }
};

Tensor best(const Tensor& costs, int64_t count) {  // as sets: sorted indices
  return std::get<0>(std::get<1>(costs.sort(1)).narrow(1, 0, count).sort(1));
}

Tensor candidates(std::uint64_t seed, int64_t problems = 3, int64_t samples = 300) {
  PhiloxNoise noise(seed);
  return noise.normal({problems, samples, 4, 2});
}

TEST_CASE("the best candidates by a rechecked cost are those of the exact one") {
  bool quick_differs = false;
  for (const bool all : {false, true})
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      const auto actions = candidates(seed);
      const Counted exact;
      const auto costs =
          recheck_survivors([](const Tensor& a) { return quick_costs(a); }, exact,
                            {.survivors = 30, .deviations = 4, .all_survivors = all})(actions);
      const auto truth = exact_costs(actions);
      const auto wanted = best(truth.total, 30);
      INFO("seed " << seed << ", all survivors " << all << ", evaluated " << *exact.candidates);
      CHECK(at::equal(best(costs.total, 30), wanted));
      CHECK(*exact.candidates >= (all ? 30 : 16));
      CHECK(*exact.candidates < 120);
      quick_differs = quick_differs || !at::equal(best(quick_costs(actions).total, 30), wanted);
      if (all) CHECK(at::equal(costs.total.gather(1, wanted), truth.total.gather(1, wanted)));

      Tensor sum = at::zeros_like(costs.total);
      for (const auto& [name, value] : costs.terms) sum += value;
      CHECK(at::allclose(sum, costs.total, 1e-5, 1e-5));
      const auto offset = find_term(costs.terms, kRecheckOffset);
      CHECK(offset.count_nonzero().item<int64_t>() == 3 * (300 - *exact.candidates));
      CHECK(offset.max().item<double>() == Approx(0.3).margin(0.1));
    }
  CHECK(quick_differs);  // or there was nothing to mend
}

TEST_CASE("CEM by a rechecked cost finds the exact cost's plan") {
  auto options = lewm_cem();
  options.iterations = 12;
  const auto solved = [&](CostFunction cost) {
    Problem problem;
    problem.batch = 2;
    problem.horizon = 4;
    problem.action.dim = 2;
    problem.cost = std::move(cost);
    PhiloxNoise noise(7);
    return SamplingPlanner(options).solve(problem, noise);
  };
  const Counted exact;
  const auto quick = [](const Tensor& a) { return quick_costs(a); };
  const auto wanted = solved(exact_costs), without = solved(quick),
             found = solved(recheck_survivors(quick, exact, recheck_for(options)));
  CHECK(found.status == Status::ok);
  CHECK(at::allclose(found.actions, wanted.actions, 0, 1e-5));
  CHECK(at::allclose(found.cost, wanted.cost, 0, 1e-5));
  CHECK_FALSE(at::allclose(without.actions, wanted.actions, 0, 1e-3));
  CHECK(*exact.candidates < 12 * 300 * 2 / 3);
}

TEST_CASE("an objective imagines with a quick model and answers as with its own") {
  // Accelerations of eight bits.
  class Coarse final : public PointMass {
   public:
    Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override {
      CHECK(state.at("latent").scalar_type() == at::kBFloat16);
      State wide(1);
      wide.set("latent", state.at("latent").to(at::kFloat)).set_filled(state.filled());
      return PointMass::rollout(wide, actions.to(at::kBFloat16).to(at::kFloat), noise);
    }
  };
  const PointMass model;
  PhiloxNoise noise(1);
  State start(1);
  start.set("latent", noise.normal({2, 1, 4}).to(at::kBFloat16).to(at::kFloat)).set_filled(1);
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  Task task(1);
  task.set(kGoal, noise.normal({2, 1, 4}));
  auto quick = objective;
  quick.set_quick_model(std::make_shared<Coarse>(), at::kBFloat16, {.deviations = 4});
  const auto actions = candidates(5, 2);
  const auto wanted = objective.cost_function(model, start, noise, task)(actions).total;
  for (const int64_t bytes : {0, 20000}) {
    const auto costs = quick.cost_function(model, start, noise, task, {.bytes = bytes})(actions);
    CHECK(at::equal(best(costs.total, 30), best(wanted, 30)));
    CHECK_FALSE(at::equal(costs.total, wanted));
    CHECK(costs.total.scalar_type() == at::kFloat);
  }

  const auto constraint = [](const Trajectory& future, const Task&) {
    return future.actions.sum({2, 3});
  };
  auto constrained = objective;
  constrained.constrain("sum", constraint);
  const auto set_quick = [](Objective& which) {
    which.set_quick_model(std::make_shared<Coarse>(), at::kBFloat16, {});
  };
  CHECK(fails_with(ErrorCategory::unsupported, [&] { set_quick(constrained); }, "constraints"));
  CHECK(fails_with(ErrorCategory::unsupported, [&] { quick.constrain("sum", constraint); }));
  CHECK(fails_with(ErrorCategory::unsupported,
                   [&] { quick.set_risk({.measure = RiskMeasure::mean, .particles = 2}); }));
  CHECK(quick.constraint_names().empty());
  CHECK(fails_with(ErrorCategory::invalid_argument,
                   [&] { quick.set_quick_model(nullptr, at::kBFloat16, {}); }));
}

TEST_CASE("what has no border, and gradients, are the exact cost's alone") {
  const Counted exact;
  const auto quick = [](const Tensor& a) { return quick_costs(a); };
  const auto cost = recheck_survivors(quick, exact, {.survivors = 30});
  const auto few = candidates(1, 2, 30);
  CHECK(at::equal(cost(few).total, exact_costs(few).total));

  const auto actions = candidates(2);
  const auto refusing = [&](int64_t good) {  // all but the first `good` cost infinity
    return recheck_survivors(
        [good](const Tensor& a) {
          auto costs = quick_costs(a);
          costs.total.slice(1, good).fill_(std::numeric_limits<double>::infinity());
          return costs;
        },
        exact, {.survivors = 30});
  };
  CHECK(at::equal(refusing(30)(actions).total, exact_costs(actions).total));
  const auto half = refusing(150)(actions).total;
  CHECK(half.isfinite().sum().item<int64_t>() == 3 * 150);
  CHECK(at::equal(best(half, 30), best(exact_costs(actions).total.slice(1, 0, 150), 30)));

  auto leaf = actions.clone();
  leaf.requires_grad_(true);
  CHECK(cost(leaf).total.requires_grad());
  c10::NoGradGuard no_grad;
  CHECK_FALSE(cost(leaf).total.requires_grad());
}

TEST_CASE("candidates that the exact cost refuses are out, and teach nothing of the quick one") {
  const auto actions = candidates(3);
  const auto truth = [&](const Tensor& a) {
    auto costs = exact_costs(a);
    costs.total = costs.total.masked_fill(a.select(3, 0).select(2, 0).gt(0.8),
                                          std::numeric_limits<double>::quiet_NaN());
    return costs;
  };
  const auto costs =
      recheck_survivors([](const Tensor& a) { return quick_costs(a); }, truth,
                        {.survivors = 30, .deviations = 4, .all_survivors = true})(actions);
  const auto wanted = truth(actions).total.nan_to_num(1e9), found = costs.total.nan_to_num(1e9);
  CHECK(at::equal(best(found, 30), best(wanted, 30)));
}

TEST_CASE("planners that need more than their survivors are refused or served") {
  auto options = lewm_cem();
  CHECK(recheck_for(options).survivors == 30);
  CHECK_FALSE(recheck_for(options).all_survivors);
  options.returned = Returned::best_ever;
  CHECK(recheck_for(options).all_survivors);
  CHECK(recheck_for(icem()).all_survivors);
  CHECK(recheck_for(eb_jepa_mppi()).all_survivors);

  CHECK(fails_with(ErrorCategory::unsupported, [] { recheck_for(mppi()); }, "elites"));
  options.max_candidates = 100;
  CHECK(fails_with(ErrorCategory::unsupported, [&] { recheck_for(options); }, "candidate_bytes"));
  options.max_candidates = 0;
  options.control_cost = 0.1;
  CHECK(fails_with(ErrorCategory::unsupported, [&] { recheck_for(options); }, "control_cost"));

  const auto refused = [](const RecheckOptions& wrong, const char* field) {
    CHECK(fails_with(
        ErrorCategory::invalid_option, [&] { recheck_survivors(exact_costs, exact_costs, wrong); },
        field));
  };
  refused({.survivors = 0}, "survivors = 0");
  refused({.deviations = 0}, "deviations = 0");
  refused({.group = 7}, "group = 7");
  CHECK(
      fails_with(ErrorCategory::invalid_argument, [] { recheck_survivors(nullptr, exact_costs); }));
  const auto constrained = [](const Tensor& a) {
    auto costs = exact_costs(a);
    costs.constraint = at::zeros({a.size(0), a.size(1), 1});
    return costs;
  };
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { recheck_survivors(constrained, exact_costs)(candidates(1)); }, "constraints"));
}

}  // namespace
}  // namespace foresight::recheck_test
