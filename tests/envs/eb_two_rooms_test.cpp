// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's Two Rooms as an Env: its contract, bad input, and what recorders say to it.
#include "foresight/envs/eb_two_rooms.hpp"

#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/envs/recording.hpp"
#include "foresight/envs/registry.hpp"

namespace foresight::envs {
namespace {

Tensor eb_state(double x, double y, double wall_x = 32, double door_y = 18) {
  return at::tensor({x, y, wall_x, door_y}).to(at::kFloat);
}

}  // namespace

TEST_CASE("EB-JEPA's rooms: a seed fixes layout, start, goal and collisions") {
  EbTwoRooms one, other;
  one.reset(7);
  other.reset(7);
  CHECK(one.state().equal(other.state()));
  CHECK(one.goal().equal(other.goal()));
  const auto into_the_border = at::tensor({-70.0F, 3.0F});
  one.step(into_the_border);
  other.step(into_the_border);
  REQUIRE(one.collision().point.has_value());
  CHECK(one.state().equal(other.state()));
  other.reset(8);
  CHECK_FALSE(one.goal().equal(other.goal()));
}

TEST_CASE("EB-JEPA's rooms: start and goal keep their margins, in different rooms") {
  EbTwoRooms env;
  int starts_left = 0;
  for (std::uint64_t seed = 0; seed < 300; ++seed) {
    env.reset(seed);
    const auto start = env.state(), goal = env.goal();
    const double wall = start[2].item<double>(), door = start[3].item<double>();
    CHECK((wall >= 20 && wall <= 44 && door >= 10 && door <= 54));
    CHECK(goal[2].item<double>() == wall);
    const double xs = start[0].item<double>(), xg = goal[0].item<double>();
    CHECK((xs - wall) * (xg - wall) < 0);
    for (const double x : {xs, xg}) {
      CHECK(std::abs(x - wall) >= 3.6 - 1e-5);
      CHECK((x >= 6.6 - 1e-5 && x <= 57.4 + 1e-5));
    }
    for (const auto& point : {start, goal})
      CHECK((point[1].item<double>() >= 6.6 - 1e-5 && point[1].item<double>() <= 57.4 + 1e-5));
    starts_left += xs < wall;
  }
  CHECK((starts_left > 120 && starts_left < 180));  // 150 +- 3.5 standard deviations
}

TEST_CASE(
    "EB-JEPA's rooms: a free step adds the action, the door lets through, the wall does not") {
  EbTwoRooms env;
  env.reset_to(eb_state(20, 40), eb_state(50, 40));
  env.step(at::tensor({1.5F, -0.5F}));
  CHECK(env.state().equal(eb_state(21.5, 39.5)));
  CHECK_FALSE(env.collision().point.has_value());

  env.reset_to(eb_state(28, 18), eb_state(50, 40));
  env.step(at::tensor({10.0F, 0.0F}));
  CHECK(env.state().equal(eb_state(38, 18)));

  env.reset_to(eb_state(28, 40), eb_state(50, 40));
  env.step(at::tensor({10.0F, 0.0F}));
  CHECK(env.state()[0].item<float>() < 31);
  CHECK((*env.collision().point)[0] == 31);

  // Inside the doorway, straight down onto its lower edge: a vertical way.
  env.reset_to(eb_state(32, 20), eb_state(50, 40));
  env.step(at::tensor({0.0F, 5.0F}));
  CHECK((*env.collision().point)[0] == 32);
  CHECK((*env.collision().point)[1] == 22);
  CHECK(env.state()[1].item<float>() <= 22);
}

TEST_CASE("EB-JEPA's rooms: an episode is truncated when it has its positions") {
  EbTwoRooms env({.allowed_positions = 4});
  env.reset_to(eb_state(20, 40), eb_state(50, 40));
  const auto still = at::zeros({2});
  CHECK_FALSE(env.step(still).truncated);
  CHECK_FALSE(env.step(still).truncated);
  CHECK(env.step(still).truncated);
  CHECK(env.spec().max_episode_steps == 3);
}

TEST_CASE("EB-JEPA's rooms: done is a mean squared error below 1, near the goal 4.5 px") {
  EbTwoRooms env;
  env.reset_to(eb_state(48.7, 40), eb_state(50, 40));
  CHECK(env.step(at::zeros({2})).terminated);  // 1.3^2 / 2 < 1
  env.reset_to(eb_state(48.5, 40), eb_state(50, 40));
  CHECK_FALSE(env.step(at::zeros({2})).terminated);
  CHECK(env.near_goal());
  env.reset_to(eb_state(45.4, 40), eb_state(50, 40));
  CHECK_FALSE(env.near_goal());
}

TEST_CASE("EB-JEPA's rooms: malformed states, actions and options say what would be accepted") {
  EbTwoRooms env;
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] { env.reset_to(eb_state(20, 40, 32, 18), eb_state(20, 40, 33, 18)); }, "same wall_x"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { env.set_state(eb_state(20, 400)); }, "0..64"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { env.set_state(eb_state(20, 40, 32.5)); }, "whole"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] {
        env.step(at::tensor({std::nanf(""), 0.0F}));
      },
      "action"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { env.step(at::zeros({3})); }, "[2]"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { env.render(64); }, "65"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { env.reset_with(2250, {}); }, "0..2249"));
  EbTwoRoomsOptions bad;
  bad.geometry.fixed_wall_x = 6;
  bad.geometry.wall = WallPlacement::fixed;
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { EbTwoRooms broken(bad); }, "fixed_wall_x"));
}

TEST_CASE("EB-JEPA's rooms are known by name, and a recorder says why it cannot record them") {
  const auto env =
      make_env("eb_two_rooms", nlohmann::json::parse(R"({"geometry": {"wall": "fixed"}})"));
  env->reset_to(eb_state(20, 40), eb_state(50, 40));
  CHECK(env->spec().picture_planes == 2);
  const auto picture = env->render(65).to(at::kInt);
  REQUIRE(picture.sizes() == at::IntArrayRef({2, 65, 65}));
  CHECK(picture[0][40][20].item<int>() == 255);
  CHECK(picture[1][40][32].item<int>() == 255);
  CHECK(picture[1][18][32].item<int>() == 0);  // the door
  CHECK(picture[1][0][4].item<int>() == 255);
  const auto policy = make_policy("random");
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { record_episode(*env, *policy, 0, 65); }, "2 planes"));
}

}  // namespace foresight::envs
