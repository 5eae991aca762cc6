// SPDX-License-Identifier: Apache-2.0
// Risk measures against closed forms and against plain loops over the particles.
#include "foresight/planning/risk.hpp"

#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/particles.hpp"
#include "foresight/planning/objective.hpp"
#include "foresight/planning/terms.hpp"
#include "point_mass.hpp"

namespace foresight::risk_test {
namespace {

// Midpoints of n equal parts of (0, 1): quantiles of a distribution without sampling noise.
Tensor levels(int64_t n) { return (at::arange(n, at::kDouble) + 0.5) / static_cast<double>(n); }

double risk(const Tensor& costs, const RiskOptions& options) {
  return risk_of(costs, options.measure, options).item<double>();
}

TEST_CASE("entropic risk of Gaussian costs is mean + aversion/2 variance") {
  const double mean = 1.5, deviation = 0.7;
  const auto costs = mean + deviation * std::sqrt(2.0) * at::erfinv(2.0 * levels(200000) - 1.0);
  for (const double aversion : {-1.0, 0.3, 2.0})
    CHECK(risk(costs, {.measure = RiskMeasure::entropic, .aversion = aversion}) ==
          Approx(mean + aversion / 2 * deviation * deviation).epsilon(1e-3));
  // Large costs do not overflow, and a vanishing aversion is the mean.
  CHECK(risk(costs + 1e6, {.measure = RiskMeasure::entropic, .aversion = 2.0}) ==
        Approx(1e6 + mean + deviation * deviation).epsilon(1e-9));
  CHECK(risk(costs, {.measure = RiskMeasure::entropic, .aversion = 1e-6}) ==
        Approx(mean).epsilon(1e-5));
}

TEST_CASE("cvar of uniform and Gaussian costs has its closed form") {
  const auto uniform = levels(20000);
  for (const double tail : {0.05, 0.25, 1.0})  // mean of U(0,1) above its 1 - tail quantile
    CHECK(risk(uniform, {.measure = RiskMeasure::cvar, .tail = tail}) ==
          Approx(1 - tail / 2).epsilon(1e-6));
  // Standard normal, worst 10 %: density at the quantile 1.2815516 divided by 0.1.
  const auto normal = std::sqrt(2.0) * at::erfinv(2.0 * levels(200000) - 1.0);
  CHECK(risk(normal, {.measure = RiskMeasure::cvar, .tail = 0.1}) ==
        Approx(1.754983).epsilon(1e-4));
}

TEST_CASE("cvar counts the last particle of the tail in part") {
  const auto costs = at::tensor({4.0, 1.0, 3.0, 2.0, 0.0}, at::kDouble);
  const auto cvar = [&](double tail) {
    return risk(costs, {.measure = RiskMeasure::cvar, .tail = tail});
  };
  CHECK(cvar(0.1) == Approx(4.0));  // half of one particle
  CHECK(cvar(0.2) == Approx(4.0));
  CHECK(cvar(0.3) == Approx((4.0 + 0.5 * 3.0) / 1.5));
  CHECK(cvar(0.6) == Approx(3.0));  // 0.6 * 5 is 3 only up to rounding
  CHECK(cvar(0.8) == Approx((4.0 + 3.0 + 2.0 + 1.0) / 4));
  CHECK(cvar(1.0) == Approx(2.0));
  CHECK(risk(costs, {.measure = RiskMeasure::worst_case}) == 4.0);
  CHECK(risk(costs, {.measure = RiskMeasure::mean}) == 2.0);
}

TEST_CASE("risk measures are ordered, keep leading axes, and never hide a NaN") {
  const auto costs = at::randn({3, 4, 8}, at::kDouble);
  RiskOptions options{.tail = 0.3, .aversion = 0.5};
  const auto mean = risk_of(costs, RiskMeasure::mean, options);
  const auto worst = risk_of(costs, RiskMeasure::worst_case, options);
  for (const auto measure : {RiskMeasure::cvar, RiskMeasure::entropic}) {
    const auto value = risk_of(costs, measure, options);
    REQUIRE(value.sizes() == at::IntArrayRef({3, 4}));
    CHECK(value.ge(mean).all().item<bool>());
    CHECK(value.le(worst).all().item<bool>());
  }
  auto broken = costs.clone();
  broken[1][2][5] = std::nan("");
  for (const auto measure :
       {RiskMeasure::mean, RiskMeasure::worst_case, RiskMeasure::cvar, RiskMeasure::entropic}) {
    const auto value = risk_of(broken, measure, options);
    CHECK(value[1][2].isnan().item<bool>());
    CHECK(value.isnan().sum().item<int64_t>() == 1);
  }
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { risk_of(costs, RiskMeasure::none, options); },
      "none"));
  for (const auto& bad :
       {RiskOptions{.measure = RiskMeasure::cvar, .tail = 0},
        RiskOptions{.measure = RiskMeasure::cvar, .tail = 1.1},
        RiskOptions{.measure = RiskMeasure::entropic, .aversion = 0}, RiskOptions{.particles = 2},
        RiskOptions{.constraints = RiskMeasure::none}})
    CHECK_FALSE(bad.validate().empty());
}

TEST_CASE("risk measures are differentiable") {
  auto costs = at::randn({2, 6}, at::kDouble).requires_grad_();
  const RiskOptions options{.tail = 0.4, .aversion = 0.7};
  for (const auto measure :
       {RiskMeasure::mean, RiskMeasure::worst_case, RiskMeasure::cvar, RiskMeasure::entropic}) {
    INFO(enum_name(measure));
    const auto gradient =
        torch::autograd::grad({risk_of(costs, measure, options).sum()}, {costs})[0];
    c10::NoGradGuard no_grad;
    constexpr double kStep = 1e-6;
    for (int64_t i = 0; i < costs.numel(); ++i) {
      auto up = costs.clone(), down = costs.clone();
      up.view({-1})[i] += kStep;
      down.view({-1})[i] -= kStep;
      const auto numeric =
          (risk_of(up, measure, options) - risk_of(down, measure, options)).sum().item<double>() /
          (2 * kStep);
      CHECK(gradient.view({-1})[i].item<double>() == Approx(numeric).margin(1e-7));
    }
  }
}

/// A point mass in wind: every step adds noise to the position.
class WindyMass final : public PointMass {
 public:
  Transition step(const State& state, const Tensor& action, Noise& noise) const override {
    auto transition = PointMass::step(state, action, noise);
    const auto& latent = transition.next.at("latent");
    transition.next.set("latent", latent + 0.3 * noise.normal(latent.sizes(), latent.options()));
    transition.reward = -transition.next.at("latent").square().sum({-1, -2});
    return transition;
  }
};

/// Draws of a standard normal that are also kept.
class KeptNoise final : public Noise {
 public:
  Tensor normal(at::IntArrayRef shape, const at::TensorOptions& options) override {
    kept.push_back(source_.normal(shape, options));
    return kept.back();
  }
  Tensor uniform(at::IntArrayRef shape, const at::TensorOptions& options) override {
    return source_.uniform(shape, options);
  }
  std::vector<Tensor> kept;

 private:
  PhiloxNoise source_{5};
};

struct Windy {
  static constexpr int64_t kB = 2, kS = 3, kH = 4, kK = 7;
  WindyMass model;
  State state = State(1).set("latent", at::randn({kB, 1, 4}, at::kDouble));
  Task task = Task(1).set(kGoal, at::randn({kB, 1, 4}, at::kDouble));
  Tensor actions = at::randn({kB, kS, kH, 2}, at::kDouble);

  // Costs of every particle [B,S,K] by rolling each out alone, with the draws that `noise` kept.
  Tensor loop(const CostTerm& term, const KeptNoise& noise) const {
    auto costs = at::empty({kB, kS, kK}, at::kDouble);
    for (int64_t s = 0; s < kS; ++s)
      for (int64_t k = 0; k < kK; ++k) {
        RecordedNoise own;
        for (const auto& draw : noise.kept) own.push(draw.narrow(1, s * kK + k, 1));
        costs.select(1, s).select(1, k).copy_(
            term(model.rollout(state, actions.narrow(1, s, 1), own), task).squeeze(1));
      }
    return costs;
  }
};

TEST_CASE("a stochastic model rolled out with particles costs what a plain loop over them costs") {
  const Windy windy;
  const auto speed = [](const Trajectory& trajectory, const Task&) {
    return trajectory.states.at("latent").select(3, 0).narrow(3, 2, 2).abs().amax({2, 3}) - 1.0;
  };
  for (const auto measure :
       {RiskMeasure::mean, RiskMeasure::worst_case, RiskMeasure::cvar, RiskMeasure::entropic}) {
    INFO(enum_name(measure));
    const RiskOptions options{.measure = measure,
                              .constraints = RiskMeasure::cvar,
                              .tail = 0.3,
                              .aversion = 0.2,
                              .particles = Windy::kK};
    Objective objective;
    objective.add("goal", 2.0, goal_distance()).add("return", 0.5, negative_return(0.9));
    objective.add("effort", 0.1, control_effort());
    objective.constrain("speed", speed).set_risk(options);
    KeptNoise noise;
    const auto costs =
        objective.cost_function(windy.model, windy.state, noise, windy.task)(windy.actions);

    const auto goal = 2.0 * windy.loop(goal_distance(), noise);
    const auto earned = 0.5 * windy.loop(negative_return(0.9), noise);
    const auto effort = 0.1 * windy.loop(control_effort(), noise);
    const auto sum = goal + earned + effort;
    for (int64_t b = 0; b < Windy::kB; ++b)
      for (int64_t s = 0; s < Windy::kS; ++s) {
        std::vector<double> c;
        for (int64_t k = 0; k < Windy::kK; ++k) c.push_back(sum[b][s][k].item<double>());
        std::sort(c.rbegin(), c.rend());
        double expected = 0;
        if (measure == RiskMeasure::worst_case) expected = c[0];
        if (measure == RiskMeasure::cvar) expected = (c[0] + c[1] + 0.1 * c[2]) / 2.1;
        for (const double x : c) {
          if (measure == RiskMeasure::mean) expected += x / 7;
          if (measure == RiskMeasure::entropic) expected += std::exp(0.2 * (x - c[0])) / 7;
        }
        if (measure == RiskMeasure::entropic) expected = c[0] + std::log(expected) / 0.2;
        CHECK(costs.total[b][s].item<double>() == Approx(expected).epsilon(1e-10));
      }
    // Terms are means; with the premium they add up.
    CHECK(at::allclose(find_term(costs.terms, "goal"), goal.mean(2)));
    CHECK(at::allclose(find_term(costs.terms, "effort"), effort.mean(2)));
    auto added = at::zeros_like(costs.total);
    for (const auto& [name, value] : costs.terms) added = added + value;
    CHECK(at::allclose(added, costs.total));
    CHECK(find_term(costs.terms, kRiskPremium).defined() == (measure != RiskMeasure::mean));
    CHECK(at::allclose(costs.constraint.squeeze(2),
                       risk_of(windy.loop(speed, noise), RiskMeasure::cvar, options)));
  }
}

TEST_CASE("terms that see all particles are outside of the risk measure") {
  const Windy windy;
  Objective objective;
  objective.add("goal", 1.0, goal_distance());
  objective.add("spread", 3.0, disagreement({.steps = Steps::last}), TermView::all_particles);
  objective.set_risk({.measure = RiskMeasure::worst_case, .particles = Windy::kK});
  KeptNoise noise;
  const auto costs =
      objective.cost_function(windy.model, windy.state, noise, windy.task)(windy.actions);
  const auto goal = windy.loop(goal_distance(), noise);

  std::vector<Tensor> coordinates;  // of every particle at the end
  for (int64_t i = 0; i < 4; ++i)
    coordinates.push_back(windy.loop(
        [i](const Trajectory& trajectory, const Task&) {
          return trajectory.states.at("latent").select(3, 0).select(3, i).select(2, Windy::kH - 1);
        },
        noise));
  const auto last = at::stack(coordinates, 3);  // [B,S,K,4]
  const auto spread = 3.0 * (last - last.mean(2, true)).square().mean(2).mean(2);
  CHECK(at::allclose(find_term(costs.terms, "spread"), spread));
  CHECK(at::allclose(costs.total, goal.amax(2) + spread));

  Objective alone;
  alone.add("spread", 1.0, disagreement(), TermView::all_particles);
  CHECK(fails_with(
      ErrorCategory::unsupported,
      [&] { alone.cost_function(windy.model, windy.state, noise)(windy.actions); },
      "particles.latent"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { alone.add(std::string(kRiskPremium), 1.0, control_effort()); }, "risk_premium"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { alone.set_risk({.particles = 3}); }, "particles"));
}

TEST_CASE(
    "risk gradients reach the actions, and slices keep the particles of a candidate together") {
  const PointMass model;  // without noise: all particles are equal
  PhiloxNoise noise(1);
  const auto state = State(1).set("latent", at::randn({2, 1, 4}, at::kDouble));
  const auto task = Task(1).set(kGoal, at::zeros({2, 1, 4}, at::kDouble));
  Objective plain;
  plain.add("goal", 1.0, goal_distance()).constrain("bound", control_effort());
  auto risky = plain;
  risky.set_risk({.measure = RiskMeasure::cvar, .tail = 0.5, .particles = 4});
  const auto actions = at::randn({2, 5, 3, 2}, at::kDouble).requires_grad_();
  const auto expected = plain.cost_function(model, state, noise, task)(actions);
  for (const int64_t bytes : {int64_t{0}, int64_t{3000}}) {
    const auto costs = risky.cost_function(model, state, noise, task, {.bytes = bytes})(actions);
    CHECK(at::allclose(costs.total, expected.total));
    CHECK(at::allclose(costs.constraint, expected.constraint));
    const auto gradient = torch::autograd::grad({costs.total.sum()}, {actions})[0];
    const auto wanted = torch::autograd::grad({expected.total.sum()}, {actions}, {},
                                              /*retain_graph=*/true)[0];
    CHECK(at::allclose(gradient, wanted));
  }
}

}  // namespace
}  // namespace foresight::risk_test
