// SPDX-License-Identifier: Apache-2.0
// An objective's sum of terms, its constraints, and its gradient.
#include "foresight/planning/objective.hpp"

#include <torch/csrc/autograd/autograd.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/planning/terms.hpp"
#include "point_mass.hpp"

namespace foresight::objective_test {
namespace {

constexpr int64_t kB = 2;

TEST_CASE("an objective weights, names and adds its terms over one rollout") {
  const PointMass model(2);
  PhiloxNoise noise(1);
  State state(1);
  state.set("latent", at::randn({kB, 1, 4}));
  Task task(1);
  task.set(kGoal, at::zeros({kB, 1, 4}));
  Objective objective;
  objective.add("goal", 2.0, goal_distance()).add("effort", 0.1, control_effort());
  objective.constrain("speed", [](const Trajectory& trajectory, const Task&) {
    return trajectory.states.at("latent").select(3, 0).narrow(3, 2, 2).abs().amax({2, 3}) - 1.0;
  });
  const auto actions = at::randn({kB, 5, 3, 4});
  const auto costs = objective.cost_function(model, state, noise, task)(actions);
  REQUIRE(costs.terms.size() == 2);
  CHECK(costs.terms[0].first == "goal");
  CHECK(at::allclose(costs.total, costs.terms[0].second + costs.terms[1].second));
  CHECK(at::allclose(costs.terms[1].second, 0.1 * actions.square().sum({2, 3})));
  const auto last = model.rollout(state, actions, noise).states.at("latent").select(2, 2);
  CHECK(at::allclose(costs.terms[0].second, 2.0 * last.square().sum({2, 3})));
  CHECK(costs.constraint.sizes() == at::IntArrayRef({kB, 5, 1}));
  CHECK((objective.constraint_names() == std::vector<std::string>{"speed"}));

  // A budget slices the candidates and changes nothing.
  const auto sliced = objective.cost_function(model, state, noise, task, {.bytes = 500})(actions);
  CHECK(candidates_within(500, model, state, 3) < 5);
  CHECK(at::equal(sliced.total, costs.total));
  CHECK(at::equal(sliced.constraint, costs.constraint));

  objective.reweight("effort", 0.0);
  CHECK(objective.cost_function(model, state, noise, task)(actions)
            .terms[1]
            .second.eq(0)
            .all()
            .item<bool>());
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { objective.reweight("efort", 1); }, "effort"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { objective.add("goal", 1, control_effort()); },
      "goal"));
}

TEST_CASE("the worst violation tells feasible from infeasible, and a NaN is infeasible") {
  const auto g = at::tensor({-1.0, -2.0, 0.0, -1.0, 0.5, 2.0, -1.0, std::nan("")}).reshape({4, 2});
  const auto violation = worst_violation(g);
  CHECK(violation[0].item<double>() == 0.0);
  CHECK(violation[1].item<double>() == 0.0);
  CHECK(violation[2].item<double>() == 2.0);
  CHECK(std::isinf(violation[3].item<double>()));
  CHECK_FALSE(worst_violation(Tensor()).defined());
}

TEST_CASE("costs are differentiable in the actions") {
  const PointMass model;
  PhiloxNoise noise(1);
  State state(1);
  state.set("latent", at::zeros({1, 1, 4}, at::kDouble));
  Task task(1);
  task.set(kGoal, at::ones({1, 1, 4}, at::kDouble));
  Objective objective;
  objective.add("goal", 1.0, goal_distance()).add("rate", 0.3, action_rate(1));
  auto actions = at::randn({1, 2, 3, 2}, at::kDouble).requires_grad_();
  const auto cost = objective.cost_function(model, state, noise, task);
  const auto gradient = torch::autograd::grad({cost(actions).total.sum()}, {actions})[0];
  c10::NoGradGuard no_grad;
  constexpr double kStep = 1e-6;
  for (const int64_t i : {0, 5, 11}) {
    auto up = actions.clone(), down = actions.clone();
    up.view({-1})[i] += kStep;
    down.view({-1})[i] -= kStep;
    const double numeric =
        (cost(up).total.sum() - cost(down).total.sum()).item<double>() / (2 * kStep);
    CHECK(gradient.view({-1})[i].item<double>() == Approx(numeric).epsilon(1e-6));
  }
}

}  // namespace
}  // namespace foresight::objective_test
