// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/two_room.hpp"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/options_json.hpp"
#include "foresight/envs/registry.hpp"

namespace foresight::envs::two_room_test {
namespace {

Tensor xy(double x, double y) { return at::tensor({static_cast<float>(x), static_cast<float>(y)}); }

}  // namespace

TEST_CASE("TwoRoom resets with the same seed to the same problem, with others to others") {
  TwoRoom room, other;
  room.reset(7);
  other.reset(7);
  CHECK(at::equal(room.state(), other.state()));
  CHECK(at::equal(room.goal(), other.goal()));
  other.reset(8);
  CHECK_FALSE(at::equal(room.state(), other.state()));
}

TEST_CASE("TwoRoom draws starts and goals uniformly over the free positions of both rooms") {
  TwoRoom room;
  constexpr int kResets = 2000;
  int left = 0, crossing = 0;
  double sum_x = 0, sum_y = 0;
  for (std::uint64_t seed = 0; seed < kResets; ++seed) {
    room.reset(seed);
    for (const auto& point : {room.state(), room.goal()}) {
      const double x = point[0].item<double>(), y = point[1].item<double>();
      REQUIRE((x >= 21 && x <= 203 && y >= 21 && y <= 203));
      REQUIRE(std::abs(x - 112) > 12);
      sum_x += x, sum_y += y;
    }
    left += room.state()[0].item<double>() < 112;
    crossing += (room.state()[0].item<double>() < 112) != (room.goal()[0].item<double>() < 112);
  }
  // Standard errors: 0.011 for the shares, 0.9 px for the means.
  CHECK(left / double{kResets} == Approx(0.5).margin(0.045));
  CHECK(crossing / double{kResets} == Approx(0.5).margin(0.045));
  CHECK(sum_x / (2 * kResets) == Approx(112).margin(4));
  CHECK(sum_y / (2 * kResets) == Approx(112).margin(4));
}

TEST_CASE("TwoRoom terminates within the success distance only, and truncates at the step limit") {
  TwoRoomOptions options;
  options.max_episode_steps = 3;
  TwoRoom room(options);
  room.reset_to(xy(40, 100), xy(61, 100));
  CHECK_FALSE(room.step(xy(1, 0)).terminated);  // 45: exactly 16 away
  CHECK(room.goal_distance() == 16);
  auto step = room.step(xy(0.125, 0));
  CHECK(step.terminated);
  CHECK_FALSE(step.truncated);
  CHECK(room.step(xy(0, 0)).truncated);
  CHECK_FALSE(room.reset_to(xy(40, 100), xy(61, 100)).truncated);
}

TEST_CASE("TwoRoom lets an agent through a door and stops it at the wall") {
  TwoRoom room;
  room.reset_to(xy(95, 49), xy(180, 49));
  for (int i = 0; i < 8; ++i) room.step(xy(1, 0));
  CHECK(at::equal(room.state(), xy(135, 49)));
  room.reset_to(xy(95, 120), xy(180, 120));
  for (int i = 0; i < 8; ++i) room.step(xy(1, 0));
  CHECK(room.state()[0].item<float>() == 99.5f);
}

TEST_CASE("TwoRoom clamps actions to [-1,1] and refuses malformed ones") {
  TwoRoom room;
  room.reset_to(xy(50, 100), xy(180, 49));
  room.step(xy(100, -100));
  CHECK(at::equal(room.state(), xy(55, 95)));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { room.step(at::zeros({3})); }, "[3]", "action"));
  CHECK_THROWS_AS(room.step(xy(std::nan(""), 0)), Error);
  CHECK_THROWS_AS(room.set_state(xy(std::numeric_limits<double>::infinity(), 0)), Error);
  CHECK_THROWS_AS(room.set_state(xy(-1, 50)), Error);
  CHECK_THROWS_AS(room.reset_to(xy(50, 50), xy(50, 225)), Error);
  CHECK(at::equal(room.state(), xy(55, 95)));
  CHECK_THROWS_AS(room.render(0), Error);
  CHECK_THROWS_AS(room.render(1 << 20), Error);
}

TEST_CASE("TwoRoom lists every broken option") {
  TwoRoomOptions options;
  options.wall_thickness = 3;
  options.door_half_sizes = {14, 14};
  options.agent_color = {0, 0, 256};
  CHECK(options.validate().size() == 3);
  CHECK_THROWS_AS(TwoRoom(options), Error);
}

TEST_CASE("TwoRoom options survive a trip through JSON") {
  TwoRoomOptions options;
  options.wall_axis = WallAxis::horizontal;
  options.door_positions = {180, 60};
  options.door_half_sizes = {10, 16};
  TwoRoomOptions back;
  read_options(back, write_options(options), "two_room");
  CHECK(write_options(back) == write_options(options));
}

TEST_CASE("The picture is symmetric under exchange of axes") {
  TwoRoomOptions options;
  TwoRoom vertical(options);
  options.wall_axis = WallAxis::horizontal;
  TwoRoom horizontal(options);
  vertical.set_state(xy(61.25, 150.5));
  horizontal.set_state(xy(150.5, 61.25));
  CHECK(at::equal(vertical.render(224), horizontal.render(224).transpose(0, 1)));
}

TEST_CASE("The dot's picture is centred on its position, fractions of a pixel included") {
  TwoRoom room;
  // Red on white: what green lacks is the blob. Below 8 levels it is cut off, far from every wall.
  auto centre = [&](double x, double y) {
    room.set_state(xy(x, y));
    const auto green = room.render(224).select(2, 1).narrow(0, 120, 60).narrow(1, 30, 60);
    const auto lack = 255 - green.to(at::kDouble);
    const auto blob = at::where(lack > 8, lack, at::zeros_like(lack));
    return ((blob.sum(0) * at::arange(30, 90, at::kDouble)).sum() / blob.sum()).item<double>();
  };
  CHECK(centre(60, 150) == Approx(60).margin(1e-9));
  CHECK(centre(61, 150) == Approx(61).margin(1e-9));
  CHECK(centre(60.5, 150) == Approx(60.5).margin(0.01));
  CHECK(centre(60.25, 150) == Approx(60.25).margin(0.02));
}

TEST_CASE("make_env and make_policy know their names and name them when asked for others") {
  for (const auto& name : env_names()) CHECK(make_env(name)->spec().name == name);
  for (const auto& name : policy_names()) CHECK(make_policy(name) != nullptr);
  CHECK(fails_with(
      ErrorCategory::not_found, [&] { make_env("three_room"); }, "two_room"));
  CHECK_THROWS_AS(make_policy("x"), Error);
  const auto horizontal = make_env("two_room", {{"wall_axis", "horizontal"}, {"agent_speed", 8.0}});
  horizontal->reset_to(xy(50, 50), xy(60, 60));
  horizontal->step(xy(1, 0));
  CHECK(at::equal(horizontal->state(), xy(58, 50)));
  CHECK_THROWS_AS(make_env("two_room", {{"agent_sped", 8.0}}), Error);
}

TEST_CASE("Rendering a 64 px frame takes about a fifth of a millisecond", "[.benchmark]") {
  TwoRoom room;
  room.reset(0);
  room.render(64);
  const auto start = std::chrono::steady_clock::now();
  constexpr int kFrames = 1000;
  for (int i = 0; i < kFrames; ++i) room.render(64);
  const std::chrono::duration<double, std::milli> spent = std::chrono::steady_clock::now() - start;
  WARN("ms per frame: " << spent.count() / kFrames);
  CHECK(spent.count() / kFrames < 5);
}

}  // namespace foresight::envs::two_room_test
