// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/policies.hpp"

#include <cmath>
#include <vector>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/envs/recording.hpp"
#include "foresight/envs/two_room.hpp"

namespace foresight::envs::policies_test {
namespace {

Tensor xy(double x, double y) { return at::tensor({static_cast<float>(x), static_cast<float>(y)}); }

}  // namespace

TEST_CASE("Straight and still policies do what they are called") {
  TwoRoom room;
  PhiloxNoise noise(0);
  room.reset_to(xy(50, 100), xy(80, 140));
  CHECK(at::allclose(StraightPolicy().act(room, noise), xy(0.6, 0.8)));
  CHECK(at::equal(StillPolicy().act(room, noise), xy(0, 0)));
  room.reset_to(xy(50, 100), xy(50, 100));
  CHECK(at::equal(StraightPolicy().act(room, noise), xy(0, 0)));
}

TEST_CASE("The noise-free expert heads for the nearest fitting door, then for the goal") {
  TwoRoomOptions options;
  options.door_positions = {49, 180, 140};
  options.door_half_sizes = {14, 14, 7};  // the last one is too narrow for a radius of 7
  TwoRoom room(options);
  PhiloxNoise noise(0);
  TwoRoomExpert expert({.noise_std = 0, .repeat_probability = 0});
  auto heading = [&](Tensor from, Tensor to) {
    room.reset_to(from, to);
    return expert.act(room, noise);
  };
  auto unit = [](double x, double y) { return xy(x / std::hypot(x, y), y / std::hypot(x, y)); };
  CHECK(at::allclose(heading(xy(50, 140), xy(180, 60)), unit(62, 40)));    // door at 180
  CHECK(at::allclose(heading(xy(50, 100), xy(180, 200)), unit(62, -51)));  // door at 49
  CHECK(at::allclose(heading(xy(110, 49), xy(180, 200)), unit(70, 151)));  // door reached
  CHECK(at::allclose(heading(xy(150, 49), xy(180, 200)), unit(30, 151)));  // same room
}

TEST_CASE("The noise-free expert reaches every goal of every layout within the step limit") {
  for (const auto axis : {WallAxis::vertical, WallAxis::horizontal}) {
    TwoRoomOptions options;
    options.wall_axis = axis;
    TwoRoom room(options);
    TwoRoomExpert expert({.noise_std = 0, .repeat_probability = 0});
    for (std::uint64_t seed = 0; seed < 50; ++seed) {
      const auto episode = record_episode(room, expert, seed, 8);
      INFO("seed " << seed);
      CHECK(episode.terminated);
    }
  }
}

TEST_CASE(
    "The noisy expert has the action statistics and success rate of the reference recordings") {
  // Reference: 240 episodes, action std 0.865 and 0.870, 76 % reach the goal within 100 steps, 59
  // rows on average.
  TwoRoom room;
  TwoRoomExpert expert;
  std::vector<Tensor> actions;
  int successes = 0, repeats = 0, steps = 0;
  constexpr int kEpisodes = 200;
  for (std::uint64_t seed = 0; seed < kEpisodes; ++seed) {
    const auto episode = record_episode(room, expert, seed, 4);
    successes += episode.terminated;
    actions.push_back(episode.actions.narrow(0, 0, episode.length() - 1));
    for (int64_t t = 1; t < episode.length() - 1; ++t, ++steps) {
      // Clipped components repeat by chance too: count where neither is at a limit.
      const auto action = episode.actions[t];
      if ((action.abs() < 1).all().item<bool>())
        repeats += at::equal(action, episode.actions[t - 1]);
    }
  }
  const auto all = at::cat(actions);
  const auto spread = all.std(0, /*unbiased=*/false);
  CHECK(spread[0].item<double>() == Approx(0.865).margin(0.015));
  CHECK(spread[1].item<double>() == Approx(0.870).margin(0.015));
  CHECK(successes / double{kEpisodes} == Approx(0.76).margin(0.1));
  CHECK(repeats > 0);
}

TEST_CASE("Repeated actions occur with the given probability") {
  TwoRoom room;
  TwoRoomExpert expert({.noise_std = 0.01, .repeat_probability = 0.25});
  PhiloxNoise noise(3);
  room.reset_to(xy(50, 100), xy(90, 140));
  int repeats = 0;
  constexpr int kSteps = 4000;
  Tensor previous;
  for (int i = 0; i < kSteps; ++i) {
    const auto action = expert.act(room, noise);
    if (previous.defined()) repeats += at::equal(action, previous);
    previous = action;
  }
  CHECK(repeats / double{kSteps} == Approx(0.25).margin(0.03));
  expert.begin_episode();
  room.reset_to(xy(50, 100), xy(10, 100));
  CHECK(expert.act(room, noise)[0].item<float>() < -0.9f);  // nothing to repeat after a new start
}

TEST_CASE("Random actions are uniform over the limits") {
  TwoRoom room;
  RandomPolicy policy;
  PhiloxNoise noise(1);
  std::vector<Tensor> draws;
  for (int i = 0; i < 4000; ++i) draws.push_back(policy.act(room, noise));
  const auto all = at::stack(draws);
  CHECK(all.abs().max().item<float>() <= 1);
  CHECK(all.mean().item<double>() == Approx(0).margin(0.03));
  CHECK(all.var(0, false)[0].item<double>() == Approx(1.0 / 3).margin(0.02));
}

TEST_CASE("A recorded episode holds aligned rows and ends in a NaN action") {
  TwoRoom room;
  TwoRoomExpert expert;
  const auto episode = record_episode(room, expert, 11, 64);
  const auto length = episode.length();
  REQUIRE(length >= 2);
  CHECK(episode.frames.sizes() == at::IntArrayRef({length, 64, 64, 3}));
  CHECK(episode.frames.scalar_type() == at::kByte);
  CHECK(episode.actions.sizes() == at::IntArrayRef({length, 2}));
  CHECK(episode.actions[length - 1].isnan().all().item<bool>());
  CHECK(episode.actions.narrow(0, 0, length - 1).isfinite().all().item<bool>());
  CHECK(episode.terminated != episode.truncated);
  TwoRoom again;
  again.reset_to(episode.states[0], episode.goal);
  for (int64_t t = 0; t < length; ++t) {
    REQUIRE(at::equal(again.state(), episode.states[t]));
    REQUIRE(at::equal(again.render(64), episode.frames[t]));
    REQUIRE(again.goal_distance() == episode.distances[t].item<double>());
    if (t + 1 < length) again.step(episode.actions[t]);
  }
  TwoRoomOptions endless;
  endless.max_episode_steps = 0;
  TwoRoom never(endless);
  CHECK_THROWS_AS(record_episode(never, expert, 0, 64), Error);
}

}  // namespace foresight::envs::policies_test
