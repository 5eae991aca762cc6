// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/value_critic.hpp"

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::value_critic_test {

using models::CriticInput;

TEST_CASE("the critic reads latent and goal through one network and is never negative") {
  for (const auto input : {CriticInput::pair, CriticInput::pair_and_distance}) {
    models::ValueCritic critic(
        {.latent = 3, .mlp = {.hidden = {8, 8}}, .input = input, .scale = 2.5}, 4);
    critic.to(at::kDouble);
    const auto z = PhiloxNoise(1).normal({2, 5, 3}, at::kDouble) * 3;
    const auto goal = PhiloxNoise(2).normal({2, 1, 3}, at::kDouble) * 3;
    const auto value = critic.forward(z, goal);
    REQUIRE(value.sizes() == at::IntArrayRef({2, 5}));
    CHECK(value.min().item<double>() >= 0);

    const auto p = critic.named_parameters();
    const auto g = goal.expand_as(z);
    const auto x =
        input == CriticInput::pair ? at::cat({z, g}, -1) : at::cat({z, g, (z - g).abs()}, -1);
    auto h = at::silu(at::linear(x, p["mlp.layers.0.weight"], p["mlp.layers.0.bias"]));
    h = at::silu(at::linear(h, p["mlp.layers.1.weight"], p["mlp.layers.1.bias"]));
    h = at::linear(h, p["mlp.layers.2.weight"], p["mlp.layers.2.bias"]).squeeze(-1);
    CHECK(at::allclose(value, 2.5 * at::log1p(at::exp(h)), 1e-10, 1e-12));
  }
}

TEST_CASE("gradients flow to the latent and the goal") {
  models::ValueCritic critic({.latent = 3});
  const auto z = PhiloxNoise(1).normal({4, 3}).requires_grad_();
  const auto goal = PhiloxNoise(2).normal({3}).requires_grad_();
  critic.forward(z, goal).sum().backward();
  CHECK(z.grad().abs().min().item<double>() > 0);
  CHECK(goal.grad().abs().min().item<double>() > 0);
}

TEST_CASE("a copy of the critic is one of its own, with the same weights, type and flags") {
  models::ValueCritic critic({.latent = 3, .input = CriticInput::pair_and_distance, .scale = 7}, 4);
  critic.to(at::kDouble);
  critic.eval();
  for (auto& parameter : critic.parameters()) parameter.set_requires_grad(false);
  const auto twin = critic.copy();
  const auto z = PhiloxNoise(1).normal({4, 3}, at::kDouble);
  const auto goal = PhiloxNoise(2).normal({3}, at::kDouble);
  const auto before = critic.forward(z, goal);
  CHECK(at::equal(twin->forward(z, goal), before));
  CHECK_FALSE(twin->is_training());
  for (auto& parameter : twin->parameters()) {
    CHECK_FALSE(parameter.requires_grad());
    parameter.add_(1.0);
  }
  CHECK(at::equal(critic.forward(z, goal), before));
  CHECK_FALSE(at::equal(twin->forward(z, goal), before));
}

TEST_CASE("the critic rejects latents and options that do not fit") {
  models::ValueCritic critic({.latent = 3});
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        critic.forward(at::zeros({2, 4}), at::zeros({2, 3}));
      },
      "latent has shape [2, 4]"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        critic.forward(at::zeros({2, 3}), at::zeros({2, 4}));
      },
      "goal has shape [2, 4]"));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [] { models::ValueCritic({.latent = 0, .scale = -1}); },
      "latent = 0", "scale = -1"));
}

}  // namespace foresight::value_critic_test
