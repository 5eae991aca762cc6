// SPDX-License-Identifier: Apache-2.0
// Proposals of a policy and of inverse dynamics: what they contain, and that they solve a problem
// where few samples alone fail.
#include "foresight/planning/amortised.hpp"

#include "error_message.hpp"
#include "foresight/planning/objective.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "planner_conformance.hpp"
#include "point_mass.hpp"

namespace foresight::amortised_test {
namespace {

constexpr int64_t kHorizon = 12;

State start_of(const PointMass& model, int64_t batch) {
  auto state = model.initial(batch);
  state.set("latent",
            at::tensor({1.0F, -0.8F, 0.0F, 0.0F}).reshape({1, 1, 4}).repeat({batch, 1, 1}));
  return state.set_filled(1);
}

/// Drives position and velocity to zero within the horizon: u = -k p - d v.
class Damper : public Policy {
 public:
  Tensor act(const State& state, Noise&) const override {
    const auto latent = state.at("latent").squeeze(-2);
    return -3.0 * latent.narrow(-1, 0, 2) - 3.0 * latent.narrow(-1, 2, 2);
  }
};

// Squared distance of the last position to the origin.
CostFunction reach_origin(const PointMass& model, const State& state, Noise& noise) {
  const auto distance = [](const Trajectory& future, const Task&) {
    return future.states.at("latent").select(2, -1).flatten(2).narrow(2, 0, 2).square().sum(2);
  };
  return Objective().add("position", 1.0, distance).cost_function(model, state, noise);
}

Problem origin_problem(const PointMass& model, const State& state, Noise& noise) {
  Problem problem;
  problem.batch = state.batch_shape()[0];
  problem.horizon = kHorizon;
  problem.action = model.spec().action;
  problem.cost = reach_origin(model, state, noise);
  return problem;
}

SamplingOptions few_samples() {
  auto options = lewm_cem();
  options.samples = 8;
  options.elites = 2;
  options.iterations = 2;
  options.bound = BoundKind::box;
  options.returned = Returned::best_ever;
  return options;
}

TEST_CASE("proposal 0 is the policy's own rollout, the others vary it within the limits") {
  const PointMass model;
  PhiloxNoise noise(1);
  const auto state = start_of(model, 2);
  const auto plans = policy_proposals(model, state, Damper(), kHorizon, 5, 0.3, noise);
  REQUIRE(plans.sizes() == at::IntArrayRef({2, 5, kHorizon, 2}));
  auto now = state;
  for (int64_t h = 0; h < kHorizon; ++h) {
    const auto block = Damper().act(now, noise).clamp(-1, 1);
    CHECK(at::allclose(plans.select(1, 0).select(1, h), block));
    now = model.step(now, block, noise).next;
  }
  CHECK(plans.abs().max().item<double>() <= 1.0);
  CHECK((plans.select(1, 1) - plans.select(1, 0)).abs().max().item<double>() > 0.1);
  CHECK_FALSE(at::equal(plans.select(1, 1), plans.select(1, 2)));
  const auto same = policy_proposals(model, state, Damper(), kHorizon, 3, 0.0, noise);
  CHECK(at::equal(same.select(1, 0), same.select(1, 2)));
}

TEST_CASE("a policy's proposals solve what few samples alone do not") {
  const PointMass model;
  PhiloxNoise noise(4);
  const auto state = start_of(model, 2);
  auto problem = origin_problem(model, state, noise);
  const SamplingPlanner planner(few_samples());
  const auto alone = planner.solve(problem, noise);
  problem.proposals = policy_proposals(model, state, Damper(), kHorizon, 3, 0.1, noise);
  const auto helped = planner.solve(problem, noise);
  INFO("alone " << alone.cost.mean().item<double>() << ", helped "
                << helped.cost.mean().item<double>());
  CHECK(helped.cost.lt(0.4 * alone.cost).all().item<bool>());
  // Never worse than the policy itself.
  const auto own = problem.cost(problem.proposals.narrow(1, 0, 1)).total.squeeze(1);
  CHECK(helped.cost.le(own + 1e-5).all().item<bool>());
}

TEST_CASE("logits of a discrete policy become symbols: the best one first, then by probability") {
  class Logits : public Policy {
   public:
    Tensor act(const State& state, Noise&) const override {
      auto shape = state.batch_shape();
      shape.push_back(3);
      return at::log(at::tensor({0.6F, 0.3F, 0.1F})).expand(shape);
    }
  };
  /// Counts nothing, moves nothing.
  class Still : public PointMass {
   public:
    Still() {
      mutable_spec().action = {};
      mutable_spec().action.dim = 3;
      mutable_spec().action.discrete = true;
    }
    Transition step(const State& state, const Tensor&, Noise&) const override {
      return {state, {}, {}};
    }
  };
  const Still model;
  PhiloxNoise noise(2);
  const auto plans = policy_proposals(model, start_of(model, 1), Logits(), 4, 5000, 1.0, noise);
  CHECK(at::equal(plans.sum(-1), at::ones({1, 5000, 4})));
  CHECK(at::equal(plans[0][0], at::tensor({1.F, 0.F, 0.F}).expand({4, 3})));
  CHECK(
      at::allclose(plans.mean(at::IntArrayRef{0, 1, 2}), at::tensor({0.6F, 0.3F, 0.1F}), 0, 0.02));
}

// The acceleration that leads from one velocity to the next, as trained inverse dynamics would.
Tensor inverse_of_point_mass(const Tensor& from, const Tensor& to) {
  // Half of the position's way counts: the line asks for a standstill velocity all along.
  const auto v = from.flatten(1).narrow(1, 2, 2);
  const auto wanted = (to - from).flatten(1).narrow(1, 0, 2) / 0.2;
  return (wanted - v) / 0.2;
}

TEST_CASE("inverse dynamics along the straight line to the goal proposes a plan that reaches it") {
  const PointMass model;
  PhiloxNoise noise(4);
  const auto state = start_of(model, 2);
  auto problem = origin_problem(model, state, noise);
  const SamplingPlanner planner(few_samples());
  const auto alone = planner.solve(problem, noise);
  problem.proposals = inverse_dynamics_proposals(model, state, at::zeros({2, 1, 4}),
                                                 inverse_of_point_mass, kHorizon, 2, 0.05, noise);
  REQUIRE(problem.proposals.sizes() == at::IntArrayRef({2, 2, kHorizon, 2}));
  const auto end = model.rollout(state, problem.proposals.narrow(1, 0, 1), noise)
                       .states.at("latent")
                       .select(2, -1)
                       .flatten(1)
                       .narrow(1, 0, 2);
  CHECK(end.abs().max().item<double>() < 0.1);
  const auto helped = planner.solve(problem, noise);
  INFO("alone " << alone.cost.mean().item<double>() << ", helped "
                << helped.cost.mean().item<double>());
  CHECK(helped.cost.lt(0.2 * alone.cost).all().item<bool>());
}

TEST_CASE("exact inverse dynamics of an integrator walk the line in equal steps") {
  /// z' = z + a on a [1,2] latent.
  class Integrator : public PointMass {
   public:
    Integrator() { mutable_spec().action.low = mutable_spec().action.high = {}; }
    Transition step(const State& state, const Tensor& action, Noise&) const override {
      State next(state.batch_dims());
      next.set("latent", state.at("latent") + action.unsqueeze(-2));
      return {next, {}, {}};
    }
  };
  const Integrator model;
  PhiloxNoise noise(1);
  State state(1);
  state.set("latent", at::tensor({1.0F, 2.0F}).reshape({1, 1, 2}));
  const auto goal = at::tensor({-1.0F, 6.0F}).reshape({1, 1, 2});
  const InverseDynamics inverse = [](const Tensor& from, const Tensor& to) {
    return (to - from).squeeze(1);
  };
  const auto plan = inverse_dynamics_proposals(model, state, goal, inverse, 4, 1, 0.0, noise);
  CHECK(at::allclose(plan[0][0], at::tensor({-0.5F, 1.0F}).expand({4, 2})));
}

TEST_CASE("proposals are refused where they make no sense") {
  const PointMass model;
  PhiloxNoise noise(1);
  const auto state = start_of(model, 1);
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { policy_proposals(model, state, Damper(), 0, 1, 0, noise); }, "horizon"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        inverse_dynamics_proposals(model, state, at::zeros({2, 1, 4}), inverse_of_point_mass, 2, 1,
                                   0, noise);
      },
      "goal"));
  class Wide : public Policy {
    Tensor act(const State& now, Noise&) const override { return now.at("latent").squeeze(-2); }
  };
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { policy_proposals(model, state, Wide(), 2, 1, 0, noise); }, "[B,count,A]"));
}

}  // namespace
}  // namespace foresight::amortised_test
