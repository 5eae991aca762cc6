// SPDX-License-Identifier: Apache-2.0
// The sampling loop on problems with known answers, and each option's own promise.
#include "foresight/planning/sampling_planner.hpp"

#include <thread>

#include "foresight/planning/presets.hpp"
#include "planner_conformance.hpp"

namespace foresight::sampling_planner_test {
namespace {

using testing::quadratic_problem;
using testing::quadratic_target;

Plan solve(const SamplingOptions& options, const Problem& problem, std::uint64_t seed = 1) {
  PhiloxNoise noise(seed);
  return SamplingPlanner(options).solve(problem, noise);
}

SamplingOptions small(SamplingOptions options, int64_t samples = 128, int64_t iterations = 25) {
  options.samples = samples;
  options.iterations = iterations;
  if (options.elites > 1) options.elites = 12;
  return options;
}

// Finite-horizon LQR by the Riccati recursion in double: the optimal cost of a double integrator.
double lqr_cost(const Tensor& x0, int64_t horizon, double dt, double r, double q_end) {
  const auto a = at::tensor({1.0, dt, 0.0, 1.0}, at::kDouble).reshape({2, 2});
  const auto b = at::tensor({dt * dt, dt}, at::kDouble).reshape({2, 1});
  const auto q = at::diag(at::tensor({1.0, 0.1}, at::kDouble));
  auto p = at::diag(at::tensor({q_end, q_end}, at::kDouble));
  for (int64_t t = 0; t < horizon; ++t) {
    const auto stage = t == 0 ? p : p + q;  // cost counts states 1..H; the last with q_end only
    const auto bp = at::matmul(b.t(), stage);
    const auto gain = at::matmul(bp, a) / (r + at::matmul(bp, b));
    const auto closed = a - at::matmul(b, gain);
    p = at::matmul(at::matmul(closed.t(), stage), closed) + r * at::matmul(gain.t(), gain);
  }
  return at::matmul(at::matmul(x0.unsqueeze(0), p), x0.unsqueeze(1)).item<double>();
}

TEST_CASE("CEM on a double integrator comes close to the Riccati solution") {
  constexpr int64_t kHorizon = 10;
  constexpr double kDt = 0.2, kEffort = 0.05, kEnd = 5.0;
  const auto x0 = at::tensor({1.0, -0.5}, at::kDouble);
  Problem problem;
  problem.horizon = kHorizon;
  problem.options = at::kDouble;
  problem.cost = [&](const Tensor& actions) {
    auto p = at::full({1, actions.size(1)}, 1.0, at::kDouble);
    auto v = at::full({1, actions.size(1)}, -0.5, at::kDouble);
    Costs costs;
    costs.total = at::zeros_like(p);
    for (int64_t t = 0; t < kHorizon; ++t) {
      const auto u = actions.select(2, t).select(2, 0);
      v = v + kDt * u;
      p = p + kDt * v;
      costs.total = costs.total + kEffort * u.square();
      costs.total = costs.total + (t + 1 < kHorizon ? p.square() + 0.1 * v.square()
                                                    : kEnd * (p.square() + v.square()));
    }
    return costs;
  };
  auto options = lewm_cem();
  options.samples = 400;
  options.iterations = 60;
  options.elites = 40;
  options.initial_std = {2.0};
  const auto plan = solve(options, problem);
  const double best = lqr_cost(x0, kHorizon, kDt, kEffort, kEnd);
  INFO("optimal " << best << ", found " << plan.cost.item<double>());
  CHECK(plan.cost.item<double>() >= best - 1e-9);
  CHECK(plan.cost.item<double>() < best * 1.01);
}

TEST_CASE("a mean candidate makes the best cost of an iteration monotone when the mean is kept") {
  auto options = predictive_sampling();
  options.samples = 32;
  options.iterations = 20;
  const auto plan = solve(options, quadratic_problem(2, 3));
  const auto best = plan.diagnostics.best_cost;  // [I,B]
  CHECK(at::diff(best, 1, 0).le(1e-6).all().item<bool>());
}

TEST_CASE("one sample and one elite still give a plan") {
  auto options = lewm_cem();
  options.samples = options.elites = 1;
  options.iterations = 3;
  options.mean_candidate = MeanCandidate::never;
  const auto plan = solve(options, quadratic_problem(2, 2));
  CHECK(plan.status == Status::ok);
  CHECK(plan.actions.isfinite().all().item<bool>());
}

TEST_CASE("permuting the draws over samples permutes nothing but the samples") {
  auto options = lewm_cem();
  options.samples = 16;
  options.elites = 4;
  options.iterations = 1;
  options.mean_candidate = MeanCandidate::never;
  options.record = PlannerRecord::everything;
  const auto problem = quadratic_problem(1, 2);
  const auto draws = at::randn({1, 16, 2, 2});
  const auto order = at::randperm(16);
  RecordedNoise plain, permuted;
  plain.push(draws);
  permuted.push(draws.index_select(1, order));
  const auto a = SamplingPlanner(options).solve(problem, plain);
  const auto b = SamplingPlanner(options).solve(problem, permuted);
  CHECK(at::allclose(a.diagnostics.iteration[0].costs.index_select(1, order),
                     b.diagnostics.iteration[0].costs));
  CHECK(at::allclose(a.actions, b.actions, 1e-5, 1e-6));
}

TEST_CASE("slices of candidates give the plan of one call") {
  auto options = small(lewm_cem(), 100, 6);
  const auto problem = quadratic_problem(3, 4);
  const auto whole = solve(options, problem);
  for (const int64_t limit : {1, 7, 99, 100, 1000}) {
    options.max_candidates = limit;
    const auto sliced = solve(options, problem);
    CHECK(at::equal(whole.actions, sliced.actions));
    CHECK(at::equal(whole.diagnostics.best_cost, sliced.diagnostics.best_cost));
    CHECK(at::equal(whole.terms[0].second, sliced.terms[0].second));
  }
}

TEST_CASE("momentum blends old and new per dimension") {
  auto options = lewm_cem();
  options.samples = 8;
  options.elites = 3;
  options.iterations = 1;
  options.mean_candidate = MeanCandidate::never;
  options.mean_momentum = {0.25, 1.0};
  options.std_momentum = {0.5};
  options.record = PlannerRecord::everything;
  options.initial_mean = {0.7, -0.3};
  const auto problem = quadratic_problem(1, 2);
  PhiloxNoise noise(3);
  const auto plan = SamplingPlanner(options).solve(problem, noise);
  const auto& record = plan.diagnostics.iteration[0];
  const auto elites = record.candidates[0].index_select(0, record.survivors[0]).to(at::kDouble);
  const auto mean = elites.mean(0), deviation = elites.std(0, /*unbiased=*/true);
  CHECK(at::allclose(plan.actions[0].select(1, 0).to(at::kDouble),
                     0.25 * 0.7 + 0.75 * mean.select(1, 0), 1e-5, 1e-6));
  CHECK(at::allclose(plan.actions[0].select(1, 1), at::full({2}, -0.3F)));
  CHECK(at::allclose(record.std[0].to(at::kDouble), 0.5 + 0.5 * deviation, 1e-5, 1e-6));
}

TEST_CASE("std floors, ceilings and estimators do what they say") {
  auto options = lewm_cem();
  options.samples = 16;
  options.elites = 4;
  options.iterations = 1;
  options.record = PlannerRecord::everything;
  const auto problem = quadratic_problem(1, 1);
  const auto refitted = [&] { return solve(options, problem).diagnostics.iteration[0].std; };
  const auto unbiased = refitted();
  options.std_update = StdUpdate::population;
  CHECK(at::allclose(unbiased, refitted() * std::sqrt(4.0 / 3.0), 1e-5));
  options.min_std = 5.0;
  CHECK(refitted().eq(5.0).all().item<bool>());
  options.min_std = 0.0;
  options.max_std = 1e-3;
  CHECK(refitted().le(1e-3F).all().item<bool>());
  options.std_update = StdUpdate::fixed;
  CHECK(refitted().eq(1.0).all().item<bool>());
}

TEST_CASE("population decay shrinks the population down to twice the elites") {
  auto options = icem();
  options.samples = 100;
  options.elites = 10;
  options.sample_decay = 2.0;
  options.iterations = 5;
  options.record = PlannerRecord::everything;
  const auto plan = solve(options, quadratic_problem(1, 4));
  std::vector<int64_t> sizes;
  for (const auto& record : plan.diagnostics.iteration) sizes.push_back(record.costs.size(1));
  CHECK(sizes == std::vector<int64_t>{100, 50, 25, 20, 20});
}

TEST_CASE("elites join the next iteration and, shifted, the next solve") {
  auto options = icem();
  options.samples = 24;
  options.elites = 6;
  options.sample_decay = 1.0;
  options.iterations = 2;
  options.kept_elites = 2;
  options.carried_elites = 3;
  options.mean_candidate = MeanCandidate::never;
  options.record = PlannerRecord::everything;
  const SamplingPlanner planner(options);
  auto problem = quadratic_problem(1, 3);
  PhiloxNoise noise(5);
  const auto first = planner.solve(problem, noise);
  const auto& before = first.diagnostics.iteration[0];
  const auto& after = first.diagnostics.iteration[1];
  for (int64_t k = 0; k < 2; ++k)
    CHECK(at::equal(after.candidates[0][k],
                    before.candidates[0][before.survivors[0][k].item<int64_t>()]));

  problem.warm_start = planner.advance(first.warm_start, {1}, 1);
  const auto second = planner.solve(problem, noise);
  for (int64_t k = 0; k < 3; ++k) {
    const auto elite = after.candidates[0][after.survivors[0][k].item<int64_t>()];
    const auto injected = second.diagnostics.iteration[0].candidates[0][k];
    CHECK(at::equal(injected.narrow(0, 0, 2), elite.narrow(0, 1, 2)));
    CHECK(at::equal(injected[2], elite[2]));
  }
}

TEST_CASE("reused noise draws once per solve") {
  auto options = small(lewm_mppi(), 32, 4);
  options.noise_schedule = NoiseSchedule::reused;
  options.elites = 8;
  RecordedNoise noise;
  noise.push(at::randn({1, 32, 2, 2}));
  const auto plan = SamplingPlanner(options).solve(quadratic_problem(1, 2), noise);
  CHECK(plan.status == Status::ok);
  CHECK(noise.remaining() == 0);
}

TEST_CASE("analytic scale gives coloured noise unit variance") {
  auto options = icem();
  options.noise_exponent = 1.5;
  Problem problem = quadratic_problem(1, 8);
  const auto proposal = make_proposal(options, problem, at::zeros({1, 8, 2}));
  PhiloxNoise noise(2);
  const auto draws = proposal->perturb(20000, noise);
  CHECK(draws.square().mean().item<double>() == Approx(1.0).margin(0.02));
  // Neighbouring steps are positively correlated, unlike white noise.
  CHECK((draws.narrow(2, 0, 7) * draws.narrow(2, 1, 7)).mean().item<double>() > 0.3);
}

TEST_CASE("a weighted survivor is drawn by weight") {
  auto options = eb_jepa_mppi();
  options.samples = 3;
  options.elites = 0;
  options.iterations = 1;
  options.temperature = 1.0;
  Problem problem = quadratic_problem(1, 1);
  // Costs with softmax weights 0.5, 0.3, 0.2.
  problem.cost = [](const Tensor&) {
    return Costs{-at::log(at::tensor({0.5F, 0.3F, 0.2F})).unsqueeze(0), {}, {}};
  };
  options.evaluate_result = false;
  const auto draws = at::randn({1, 3, 1, 2});
  const auto chosen = [&](double u) {
    RecordedNoise noise;
    noise.push(draws);
    noise.push(at::full({1, 1}, u));
    const auto plan = SamplingPlanner(options).solve(problem, noise);
    for (int64_t s = 0; s < 3; ++s)
      if (at::allclose(plan.actions[0], draws[0][s] * 2.0)) return s;
    return int64_t{-1};
  };
  CHECK(chosen(0.1) == 0);
  CHECK(chosen(0.49) == 0);
  CHECK(chosen(0.51) == 1);
  CHECK(chosen(0.79) == 1);
  CHECK(chosen(0.81) == 2);
}

TEST_CASE("constraints rank feasible before infeasible and are reported") {
  auto problem = quadratic_problem(2, 1);
  problem.cost = [](const Tensor& actions) {
    Costs costs;
    costs.total = (actions - 1.0).square().sum({2, 3});
    // x <= 0.2 in the first problem; impossible in the second.
    const auto excess = actions.select(2, 0).select(2, 0) - at::tensor({0.2F, -50.0F}).unsqueeze(1);
    costs.constraint = excess.unsqueeze(2);
    return costs;
  };
  for (auto options : {small(lewm_cem()), small(lewm_mppi())}) {
    options.bound = BoundKind::box;
    options.returned = Returned::best_ever;
    const auto plan = solve(options, problem);
    CHECK(plan.statuses[0] == Status::ok);
    CHECK(plan.statuses[1] == Status::infeasible);
    CHECK(plan.status == Status::infeasible);
    CHECK(plan.constraint[0].item<double>() <= 0.0);
    CHECK(plan.actions[0][0][0].item<double>() == Approx(0.2).margin(0.1));
    CHECK(plan.actions[0][0][1].item<double>() == Approx(1.0).margin(0.25));
    // Where nothing is feasible, violation is reduced as far as the limits allow.
    CHECK(plan.actions[1][0][0].item<double>() == Approx(-2.0).margin(0.3));
  }
}

TEST_CASE("a mean that breaks a constraint gives way to a candidate that keeps it") {
  // Minima at -1 and 1, the middle forbidden: elites on both sides, their mean between them.
  Problem problem;
  problem.cost = [](const Tensor& actions) {
    const auto distance = actions.abs().sum({2, 3});
    Costs costs;
    costs.total = (distance - 1).square();
    costs.terms.emplace_back("valleys", costs.total);
    costs.constraint = (0.5 - distance).unsqueeze(2);
    return costs;
  };
  auto options = lewm_cem();
  options.iterations = 1;
  options.mean_candidate = MeanCandidate::never;
  const auto plan = solve(options, problem);
  CHECK(plan.status == Status::ok);
  CHECK(plan.constraint.item<double>() <= 0);
  CHECK(std::abs(plan.actions.item<double>()) >= 0.5);
  const auto own = problem.cost(plan.actions.unsqueeze(1));
  CHECK(plan.cost.item<float>() == own.total.item<float>());
  CHECK(plan.terms.front().second.item<float>() == own.total.item<float>());
}

TEST_CASE("searches run in bfloat16 as well") {
  auto problem = quadratic_problem(2, 2);
  problem.options = at::kBFloat16;
  for (auto options : {small(lewm_cem()), small(lewm_icem()), small(lewm_mppi())}) {
    options.bound = BoundKind::box;
    const auto plan = solve(options, problem);
    INFO(plan.message);
    CHECK(plan.status == Status::ok);
    CHECK(plan.actions.scalar_type() == at::kBFloat16);
    CHECK((plan.actions.to(at::kFloat) - quadratic_target(2, 2)).abs().max().item<double>() < 0.3);
  }
}

TEST_CASE("a deadline stops the search between iterations and keeps what was found") {
  auto options = small(lewm_cem(), 64, 1000);
  auto problem = quadratic_problem(1, 2);
  const auto inner = problem.cost;
  problem.cost = [inner](const Tensor& actions) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    return inner(actions);
  };
  const auto start = Problem::Clock::now();
  problem.deadline = start + std::chrono::milliseconds(60);
  const auto plan = solve(options, problem);
  const double spent = std::chrono::duration<double>(Problem::Clock::now() - start).count();
  CHECK(plan.status == Status::deadline_reached);
  CHECK(plan.diagnostics.iterations > 3);
  CHECK(plan.diagnostics.iterations < 1000);
  CHECK(spent < 0.2);
  CHECK((plan.actions - quadratic_target(1, 2)).abs().max().item<double>() < 0.5);
}

TEST_CASE("categorical search finds the best symbols of every problem") {
  Problem problem;
  problem.batch = 2;
  problem.horizon = 3;
  problem.action.dim = 4;
  problem.action.block = 2;
  problem.action.discrete = true;
  const auto wanted = at::tensor({0, 1, 2, 3, 0, 1, 3, 3, 2, 2, 1, 0}, at::kLong).reshape({2, 6});
  problem.cost = [wanted](const Tensor& actions) {
    const auto hot = actions.reshape({2, actions.size(1), 6, 4});
    const auto index = wanted.reshape({2, 1, 6, 1}).expand({2, actions.size(1), 6, 1});
    return Costs{6.0 - hot.gather(3, index).sum({2, 3}), {}, {}};
  };
  const auto plan = solve(categorical_cem(), problem);
  CHECK(plan.status == Status::ok);
  CHECK(at::equal(plan.actions.reshape({2, 6, 4}).argmax(2), wanted));
  CHECK(at::equal(plan.actions.reshape({2, 6, 4}).sum(2), at::ones({2, 6})));
  CHECK(plan.cost.eq(0).all().item<bool>());
}

}  // namespace
}  // namespace foresight::sampling_planner_test
