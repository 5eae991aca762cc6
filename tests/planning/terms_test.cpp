// SPDX-License-Identifier: Apache-2.0
// Cost terms against their formulas, written out in double.
#include "foresight/planning/terms.hpp"

#include <torch/csrc/autograd/autograd.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/particles.hpp"
#include "foresight/planning/regions.hpp"
#include "golden.hpp"

namespace foresight::terms_test {
namespace {

constexpr int64_t kB = 2, kS = 3, kH = 4, kP = 2, kD = 5;

Trajectory random_trajectory() {
  Trajectory trajectory;
  trajectory.actions = at::randn({kB, kS, kH, 4}, at::kDouble);
  trajectory.states = State(3);
  trajectory.states.set("latent", at::randn({kB, kS, kH, kP, kD}, at::kDouble));
  trajectory.rewards = at::randn({kB, kS, kH}, at::kDouble);
  trajectory.discounts = at::rand({kB, kS, kH}, at::kDouble);
  return trajectory;
}

Task goal_task() {
  Task task(1);
  task.set(kGoal, at::randn({kB, kP, kD}, at::kDouble));
  return task;
}

double at_index(const Tensor& tensor, std::initializer_list<int64_t> index) {
  auto value = tensor;
  for (const auto i : index) value = value[i];
  return value.item<double>();
}

TEST_CASE("the distance of bfloat16 latents to a goal is summed in float32") {
  PhiloxNoise noise(21);
  const auto latents = noise.normal({2, 5, 3, 1, 192}).to(at::kBFloat16);
  const auto goal = noise.normal({2, 1, 192}).to(at::kBFloat16);
  Trajectory trajectory;
  trajectory.actions = at::zeros({2, 5, 3, 1});
  trajectory.states = State(3);
  trajectory.states.set("latent", latents);
  const auto cost = goal_distance()(trajectory, Task(1).set(kGoal, goal));
  const auto expected = (latents.select(2, 2).to(at::kDouble) - goal.to(at::kDouble).unsqueeze(1))
                            .square()
                            .sum({2, 3});
  CHECK(cost.scalar_type() == at::kFloat);
  CHECK(at::allclose(cost.to(at::kDouble), expected, 1e-5, 1e-5));
}

TEST_CASE("the distance of long futures to a goal is that of each candidate, taken in slices") {
  at::NoGradGuard no_grad;  // with gradients there are no slices
  PhiloxNoise noise(22);
  // 2 x 7 x 50 x 2 x 512 numbers: slices of two candidates, and one that is left over.
  const auto latents = noise.normal({2, 7, 50, 2, 512}, at::kDouble);
  const auto goal = noise.normal({2, 2, 512}, at::kDouble);
  Trajectory trajectory;
  trajectory.actions = at::zeros({2, 7, 50, 1}, at::kDouble);
  trajectory.states = State(3);
  trajectory.states.set("latent", latents);
  const auto cost = goal_distance({.steps = Steps::sum})(trajectory, Task(1).set(kGoal, goal));
  CHECK(at::allclose(cost, (latents - goal.unsqueeze(1).unsqueeze(1)).square().sum({2, 3, 4}),
                     1e-12, 0.0));
}

TEST_CASE("goal distance equals its formula for every choice of its options") {
  const auto trajectory = random_trajectory();
  const auto task = goal_task();
  const auto& x = trajectory.states.at("latent");
  const auto& g = task.at(kGoal);
  for (const auto distance : {Distance::l1, Distance::l2, Distance::cosine})
    for (const auto steps : {Steps::last, Steps::sum, Steps::discounted})
      for (const auto reduction : {Reduction::sum, Reduction::mean})
        for (const bool normalise : {false, true}) {
          if (steps == Steps::last && normalise) continue;
          const auto cost = goal_distance({.distance = distance,
                                           .steps = steps,
                                           .reduction = reduction,
                                           .discount = 2.0,
                                           .normalise_steps = normalise})(trajectory, task);
          REQUIRE(cost.sizes() == at::IntArrayRef({kB, kS}));
          for (int64_t b = 0; b < kB; ++b)
            for (int64_t s = 0; s < kS; ++s) {
              double expected = 0, weights = 0;
              for (int64_t h = 0; h < kH; ++h) {
                double step = 0;
                for (int64_t p = 0; p < kP; ++p) {
                  double dot = 0, xx = 0, gg = 0;
                  for (int64_t d = 0; d < kD; ++d) {
                    const double a = at_index(x, {b, s, h, p, d}), c = at_index(g, {b, p, d});
                    if (distance == Distance::l1) step += std::abs(a - c);
                    if (distance == Distance::l2) step += (a - c) * (a - c);
                    dot += a * c;
                    xx += a * a;
                    gg += c * c;
                  }
                  if (distance == Distance::cosine) step += 1 - dot / std::sqrt(xx * gg);
                }
                if (reduction == Reduction::mean)
                  step /= static_cast<double>(distance == Distance::cosine ? kP : kP * kD);
                const double weight = steps == Steps::last
                                          ? (h == kH - 1 ? 1.0 : 0.0)
                                          : (steps == Steps::sum ? 1.0 : std::pow(2.0, h));
                expected += weight * step;
                weights += weight;
              }
              if (normalise) expected /= weights;
              CHECK(at_index(cost, {b, s}) == Approx(expected).epsilon(1e-10));
            }
        }
}

TEST_CASE("goal distance and effort equal stable-worldmodel's planning costs, with gradients",
          "[parity][device]") {
  for_each_golden("lewm/goal_cost", [](Golden& golden) {
    for (const auto& entry : golden.config().at("cases")) {
      const std::string name = entry;
      for (const auto type : kNetworkTypes) {
        const auto input = [&](const char* key) { return golden.input(name + key).to(type); };
        // A difference of two rounded numbers, squared.
        const auto compare = [&](const std::string& key, const Tensor& actual) {
          golden.compare_run(name + key, actual.to(type), 4 * 2);
        };
        for (const auto reduction : {Reduction::sum, Reduction::mean}) {
          const std::string key = "_" + std::string(enum_name(reduction));
          const auto predicted = input("_pred").requires_grad_();
          Trajectory trajectory;
          trajectory.states = State(3);
          trajectory.states.set("latent", predicted);
          trajectory.actions = input("_actions");
          Task task(1);
          task.set(kGoal, input("_goal").select(1, -1));  // the last goal frame
          const auto cost = goal_distance({.reduction = reduction})(trajectory, task);
          compare(key, cost);
          compare(key + "_grad", torch::autograd::grad({cost.sum()}, {predicted})[0]);
          compare("_control", control_effort()(trajectory, task));
        }
      }
    }
    CHECK(golden.uncompared("outputs").empty());
    CHECK(golden.uncompared("outputs64").empty());
  });
}

TEST_CASE("vector latents and goals need no token axis") {
  Trajectory trajectory = random_trajectory();
  const auto latent = at::randn({kB, kS, kH, kD}, at::kDouble);
  trajectory.states = State(3);
  trajectory.states.set("latent", latent);
  Task task(1);
  const auto goal = at::randn({kB, kD}, at::kDouble);
  task.set(kGoal, goal);
  CHECK(at::allclose(goal_distance()(trajectory, task),
                     (latent.select(2, kH - 1) - goal.unsqueeze(1)).square().sum(2)));
  task.set(kGoal, at::randn({kB, kD + 1}, at::kDouble));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { goal_distance()(trajectory, task); }, "goal",
      "[B,P,D]"));
}

TEST_CASE("returns discount by gamma and by the model's own discounts") {
  const auto trajectory = random_trajectory();
  const auto cost = negative_return(0.8)(trajectory, Task(1));
  for (int64_t b = 0; b < kB; ++b)
    for (int64_t s = 0; s < kS; ++s) {
      double expected = 0, running = 1;
      for (int64_t h = 0; h < kH; ++h) {
        expected -= running * at_index(trajectory.rewards, {b, s, h});
        running *= 0.8 * at_index(trajectory.discounts, {b, s, h});
      }
      CHECK(at_index(cost, {b, s}) == Approx(expected).epsilon(1e-10));
    }
  Trajectory bare = trajectory;
  bare.rewards = Tensor();
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { negative_return()(bare, Task(1)); }, "rewards"));
}

class SumCritic final : public Critic {
 public:
  Tensor value(const State& state) const override { return state.at("latent").sum({-1, -2}); }
};

TEST_CASE("terminal value reads the last state under the remaining discount") {
  const auto trajectory = random_trajectory();
  const auto cost = terminal_value(std::make_shared<SumCritic>(), 0.5)(trajectory, Task(1));
  const auto expected = -trajectory.states.at("latent").select(2, kH - 1).sum({2, 3}) *
                        std::pow(0.5, kH) * trajectory.discounts.prod(2);
  CHECK(at::allclose(cost, expected));
}

TEST_CASE("action rate sees raw actions across blocks and the action sent last") {
  Trajectory trajectory;
  trajectory.actions = at::tensor({1.0, 2.0, 4.0, 8.0}).reshape({1, 1, 2, 2});
  CHECK(action_rate(2)(trajectory, Task(1)).item<double>() == Approx(1 + 4 + 16));
  Task task(1);
  task.set(kPreviousAction, at::tensor({0.5}).reshape({1, 1}));
  CHECK(action_rate(2)(trajectory, task).item<double>() == Approx(0.25 + 1 + 4 + 16));
  CHECK(control_effort()(trajectory, Task(1)).item<double>() == Approx(1 + 4 + 16 + 64));
}

TEST_CASE("a goal of several latents is their weighted distances") {
  auto trajectory = random_trajectory();
  trajectory.states.set("proprio", at::randn({kB, kS, kH, 3}, at::kDouble));
  auto task = goal_task();
  task.set("goal_proprio", at::randn({kB, 3}, at::kDouble));
  const GoalDistance visual{.steps = Steps::discounted, .discount = 2.0};
  const GoalDistance proprio{
      .reduction = Reduction::mean, .field = "proprio", .goal = "goal_proprio"};
  const auto both = goal_distances({{visual, 1.0}, {proprio, 0.3}})(trajectory, task);
  CHECK(at::allclose(both, goal_distance(visual)(trajectory, task) +
                               0.3 * goal_distance(proprio)(trajectory, task)));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { goal_distances({}); }, "at least one"));
  CHECK(fails_with(
      ErrorCategory::invalid_option,
      [&] {
        goal_distances({{proprio, -1.0}});
      },
      "proprio", "-1"));
}

TEST_CASE("costs of single states are summed, discounted, or of the last state") {
  const auto trajectory = random_trajectory();
  const auto task = goal_task();
  const auto per_step = trajectory.states.at("latent").square().sum({3, 4});
  const StateCost energy = [](const State& states) {
    return states.at("latent").square().sum({-1, -2});
  };
  const GoalCritic critic = [](const Tensor& latents, const Tensor& goals) {
    return (latents - goals).abs().sum(-1);
  };
  const auto to_go = (trajectory.states.at("latent").flatten(3) -
                      task.at(kGoal).flatten(1).reshape({kB, 1, 1, kP * kD}))
                         .abs()
                         .sum(3);
  const auto weight = at::tensor({1.0, 0.5, 0.25, 0.125}, at::kDouble);
  CHECK(at::allclose(intrinsic_cost(energy)(trajectory, task), per_step.sum(2)));
  CHECK(at::allclose(cost_to_go(critic)(trajectory, task), to_go.sum(2)));
  const StepWeights halves{.steps = Steps::discounted, .discount = 0.5};
  CHECK(at::allclose(intrinsic_cost(energy, halves)(trajectory, task), (per_step * weight).sum(2)));
  CHECK(at::allclose(cost_to_go(critic, halves)(trajectory, task), (to_go * weight).sum(2)));
  const StepWeights last{.steps = Steps::last};
  CHECK(at::allclose(intrinsic_cost(energy, last)(trajectory, task), per_step.select(2, kH - 1)));
  CHECK(at::allclose(cost_to_go(critic, last)(trajectory, task), to_go.select(2, kH - 1)));
  const StateCost scalar = [](const State&) { return at::zeros({1}); };
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { intrinsic_cost(scalar)(trajectory, task); },
      "intrinsic_cost", "[B,S,h]"));
}

TEST_CASE("disagreement is the variance over particles, and needs some") {
  auto trajectory = random_trajectory();
  constexpr int64_t kM = 3;
  const auto particles = at::randn({kB, kS, kH, kM, kP, kD}, at::kDouble);
  trajectory.states.set(particle_field("latent"), particles);
  const auto cost = disagreement()(trajectory, Task(1));
  for (int64_t b = 0; b < kB; ++b)
    for (int64_t s = 0; s < kS; ++s) {
      double expected = 0;
      for (int64_t h = 0; h < kH; ++h)
        for (int64_t p = 0; p < kP; ++p)
          for (int64_t d = 0; d < kD; ++d) {
            double mean = 0, square = 0;
            for (int64_t m = 0; m < kM; ++m) {
              const double x = at_index(particles, {b, s, h, m, p, d});
              mean += x / kM;
              square += x * x / kM;
            }
            expected += (square - mean * mean) / (kP * kD);
          }
      CHECK(at_index(cost, {b, s}) == Approx(expected).epsilon(1e-10));
    }
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { disagreement()(random_trajectory(), Task(1)); },
      "particles.latent"));
}

TEST_CASE("every term has the gradient of its finite differences") {
  auto trajectory = random_trajectory();
  auto task = goal_task();
  task.set(kPreviousAction, at::randn({kB, 2}, at::kDouble));
  trajectory.states.set(particle_field("latent"), at::randn({kB, kS, kH, 3, kP, kD}, at::kDouble));
  std::vector<Tensor> inputs{trajectory.actions, trajectory.rewards, trajectory.discounts};
  for (const auto& [name, value] : trajectory.states.fields()) inputs.push_back(value);
  for (auto& input : inputs) input.requires_grad_();

  const auto zone = near_any(at::randn({4, kP * kD}, at::kDouble), 3.5);
  const auto cell =
      box({.low = std::vector<double>(kP * kD, -0.6), .high = std::vector<double>(kP * kD, 0.6)});
  const auto latent = position_in("latent");
  const GoalCritic critic = [](const Tensor& z, const Tensor& g) { return (z * g).tanh().sum(-1); };
  const StateCost energy = [](const State& s) { return s.at("latent").pow(3).sum({-1, -2}); };
  const std::vector<std::pair<std::string, CostTerm>> terms{
      {"goal l1", goal_distance({.distance = Distance::l1, .steps = Steps::sum})},
      {"goal l2", goal_distance({.steps = Steps::discounted, .discount = 0.7})},
      {"goal cosine", goal_distance({.distance = Distance::cosine})},
      {"effort", control_effort()},
      {"rate", action_rate(2)},
      {"return", negative_return(0.9)},
      {"terminal value", terminal_value(std::make_shared<SumCritic>(), 0.9)},
      {"intrinsic", intrinsic_cost(energy, {.steps = Steps::discounted, .discount = 0.7})},
      {"cost to go", cost_to_go(critic)},
      {"disagreement", disagreement()},
      {"keep out", keep_out(zone, latent)},
      {"keep in", keep_in(cell, latent)},
      {"keep out constraint", keep_out_constraint(zone, latent)},
      {"keep in constraint", keep_in_constraint(cell, latent)}};
  for (const auto& [name, term] : terms) {
    INFO(name);
    const auto gradients = torch::autograd::grad({term(trajectory, task).sum()}, inputs, {}, {},
                                                 false, /*allow_unused=*/true);
    c10::NoGradGuard no_grad;
    double largest = 0;
    for (std::size_t i = 0; i < inputs.size(); ++i) {
      const auto flat = inputs[i].view({-1});
      for (int64_t j = 0; j < flat.numel(); j += 7) {
        constexpr double kStep = 1e-6;
        const auto kept = flat[j].item<double>();
        flat[j].fill_(kept + kStep);
        const auto up = term(trajectory, task).sum().item<double>();
        flat[j].fill_(kept - kStep);
        const auto down = term(trajectory, task).sum().item<double>();
        flat[j].fill_(kept);
        const auto numeric = (up - down) / (2 * kStep);
        const auto own =
            gradients[i].defined() ? gradients[i].reshape({-1})[j].item<double>() : 0.0;
        CHECK(own == Approx(numeric).epsilon(1e-5).margin(1e-6));
        largest = std::max(largest, std::abs(numeric));
      }
    }
    CHECK(largest > 1e-3);  // the term was at work where it was looked at
  }
}

}  // namespace
}  // namespace foresight::terms_test
