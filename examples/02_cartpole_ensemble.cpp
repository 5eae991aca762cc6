// SPDX-License-Identifier: Apache-2.0
// Example 2: learn the world, then plan in it. A cart must keep a pole upright. It first pushes at
// random, and an ensemble of small networks learns from that what pushes do; CEM then plans with
// the ensemble, which says itself what it does not know (PETS, Chua et al., arXiv 1805.12114).
#include <torch/optim/adam.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <vector>

#include "foresight/control/mpc.hpp"
#include "foresight/models/mlp_dynamics.hpp"
#include "foresight/planning/presets.hpp"
#include "foresight/planning/sampling_planner.hpp"
#include "foresight/planning/terms.hpp"

using namespace foresight;
using models::Transitions;

namespace {

constexpr int kEpisode = 200;  // steps of 20 ms

// The cart-pole of Barto, Sutton & Anderson (1983) with the constants of Gym: position, velocity,
// angle from upright, angular velocity; pushed by up to 10 N.
struct CartPole {
  double x = 0, v = 0, angle = 0, spin = 0;

  void push(double action) {
    const double cart = 1.0, pole = 0.1, half = 0.5, step = 0.02, total = cart + pole;
    const double c = std::cos(angle), s = std::sin(angle);
    const double force = 10.0 * action + pole * half * spin * spin * s;
    const double turn = (9.8 * s - c * force / total) / (half * (4.0 / 3.0 - pole * c * c / total));
    const double pull = force / total - pole * half * turn * c / total;
    x += step * v;
    v += step * pull;
    angle += step * spin;
    spin += step * turn;
  }
  bool fallen() const { return std::abs(x) > 2.4 || std::abs(angle) > 12.0 / 180.0 * M_PI; }
  Tensor state() const { return at::tensor({x, v, angle, spin}).to(at::kFloat).view({1, 4}); }
};

CartPole somewhere(Noise& noise, double spread) {
  const auto u = noise.uniform({4}) * (2 * spread) - spread;
  return {u[0].item<double>(), u[1].item<double>(), u[2].item<double>(), u[3].item<double>()};
}

// Random pushes from random starts until the pole falls.
Transitions play(int episodes, Noise& noise) {
  std::vector<Tensor> states, actions, next;
  for (int e = 0; e < episodes; ++e)
    for (auto world = somewhere(noise, 0.1); !world.fallen();) {
      const auto action = noise.uniform({1, 1}) * 2.0 - 1.0;
      states.push_back(world.state());
      actions.push_back(action);
      world.push(action.item<double>());
      next.push_back(world.state());
    }
  return {at::cat(states), at::cat(actions), at::cat(next)};
}

std::shared_ptr<models::MlpDynamics> learn(const Transitions& data, PhiloxNoise& noise) {
  models::MlpDynamicsOptions options;
  options.state = 4;
  options.action.low = {-1.0};
  options.action.high = {1.0};
  options.members = 5;
  options.mlp.hidden = {64, 64};
  auto dynamics = std::make_shared<models::MlpDynamics>(options);
  dynamics->fit_scales(data);
  const auto rows = models::bootstrap_rows(data.size(), options.members, noise);
  torch::optim::Adam optimizer(dynamics->parameters(), torch::optim::AdamOptions(2e-3));
  for (int step = 0; step < 800; ++step) {
    const auto batch = rows.gather(1, noise.integers(data.size(), {options.members, 64}));
    optimizer.zero_grad();
    dynamics->loss(data, batch).total().backward();
    optimizer.step();
  }
  return dynamics;
}

// Away from upright, and from the middle of the rail.
Tensor tilt(const Trajectory& future, const Task&) {
  const auto& state = future.states.at("latent");
  return (10.0 * state.select(-1, 2).square() + 0.1 * state.select(-1, 0).square()).sum({2, 3});
}

// Steps until the pole falls, at most kEpisode.
template <class Act>
int balance(CartPole world, Act&& act) {
  for (int step = 0; step < kEpisode; ++step) {
    world.push(act(world));
    if (world.fallen()) return step + 1;
  }
  return kEpisode;
}

}  // namespace

int main() {
  const auto start = std::chrono::steady_clock::now();
  const auto seconds = [&] {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  PhiloxNoise noise(0);
  const auto data = play(60, noise), unseen = play(10, noise);
  const auto dynamics = learn(data, noise);
  std::printf(
      "%5.1f s  learned from %lld random pushes; error on others: %.4f of the change's variance\n",
      seconds(), static_cast<long long>(data.size()),
      dynamics->error(unseen).mean().item<double>());

  // Each candidate is imagined once by every member; its cost is the mean over these futures.
  Objective objective;
  objective.add("tilt", 1.0, tilt).add("effort", 0.001, control_effort());
  objective.set_risk({.measure = RiskMeasure::mean});
  SamplingOptions cem = lewm_cem();
  cem.samples = 100;
  cem.elites = 10;
  cem.iterations = 3;
  cem.bound = BoundKind::box;
  Mpc mpc(std::make_shared<models::Ensemble>(dynamics), objective,
          std::make_shared<SamplingPlanner>(cem), {.horizon = 20, .replan_steps = 1});

  bool all = true;
  for (int episode = 0; episode < 3; ++episode) {
    const auto world = somewhere(noise, 0.05);
    const int random = balance(
        world, [&](const CartPole&) { return 2.0 * noise.uniform({1}).item<double>() - 1.0; });
    mpc.reset();
    const int planned = balance(world, [&](const CartPole& now) {
      return mpc.act({"state", now.state()}).action.item<double>();
    });
    std::printf("%5.1f s  balanced %d of %d steps; random pushes: %d\n", seconds(), planned,
                kEpisode, random);
    all = all && planned == kEpisode;
  }
  return all ? 0 : 1;
}
