// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's Two Rooms against runs of the reference environment with recorded draws.
#include <cmath>

#include "catch.hpp"
#include "envs/eb_golden_options.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "golden.hpp"

namespace foresight::envs {
namespace {

// Pictures: exp may differ in the last bit, so that a grey level may be one off.
void check_grey_levels(const Tensor& actual, const Tensor& expected) {
  REQUIRE(actual.sizes() == expected.sizes());
  CHECK((actual.to(at::kInt) - expected.to(at::kInt)).abs().max().item<int>() <= 1);
}

Tensor eb_state_of(const Tensor& point, const Tensor& wall_x, const Tensor& door_y) {
  return at::cat({point.to(at::kFloat), wall_x.to(at::kFloat).reshape({1}),
                  door_y.to(at::kFloat).reshape({1})});
}

}  // namespace

TEST_CASE("resets put wall, door, start and goal where the reference puts them", "[parity]") {
  for_each_golden("eb_jepa/env_reset", [](Golden& golden) {
    REQUIRE(golden.config().at("cases").size() >= 2);
    for (const auto& item : golden.config().at("cases")) {
      const auto name = item.at("name").get<std::string>();
      INFO(name);
      EbTwoRooms env(eb_env_options_of(item));
      const auto draws = golden.input(name + ".uniforms");
      std::array<double, 5> uniforms;
      for (int64_t i = 0; i < 5; ++i)
        uniforms[static_cast<std::size_t>(i)] = draws[i].item<double>();
      env.reset_with(golden.input(name + ".layout_index").item<int64_t>(), uniforms);
      const auto wall = golden.output(name + ".wall_x"), door = golden.output(name + ".door_y");
      golden.compare(name + ".wall_x", at::scalar_tensor(env.layout().wall_x, wall.options()));
      golden.compare(name + ".door_y", at::scalar_tensor(env.layout().door_y, door.options()));
      golden.compare(name + ".start", env.state().narrow(0, 0, 2));
      golden.compare(name + ".target", env.goal().narrow(0, 0, 2));
      check_grey_levels(env.render(65), golden.output(name + ".obs"));
      env.set_state(env.goal());
      check_grey_levels(env.render(65), golden.output(name + ".target_obs"));
    }
  });
}

TEST_CASE("scripted walks end where the reference's do, with its collisions and noise",
          "[parity]") {
  for_each_golden("eb_jepa/env_trace", [](Golden& golden) {
    if (golden.name().find("quirk") != std::string::npos) return;  // its own test, below
    EbTwoRooms env(eb_env_options_of(golden.config()));
    const auto wall = golden.input("wall_x"), door = golden.input("door_y");
    env.reset_to(eb_state_of(golden.input("start"), wall, door),
                 eb_state_of(golden.input("target"), wall, door));
    const auto actions = golden.input("actions"), noise = golden.input("noise");
    const auto size = env.options().geometry.image_size;
    std::vector<Tensor> positions{env.state().narrow(0, 0, 2)}, frames{env.render(size)},
        intersections;
    std::vector<double> distances;
    std::vector<int64_t> draws, done, truncated, success, collided;
    for (int64_t t = 0; t < actions.size(0); ++t) {
      auto recorded = std::make_shared<RecordedNoise>();
      for (int64_t k = 0; k < noise.size(1); ++k) recorded->push(noise[t][k]);
      env.use_noise(recorded);
      const auto step = env.step(actions[t]);
      positions.push_back(env.state().narrow(0, 0, 2));
      frames.push_back(env.render(size));
      const auto& hit = env.collision();
      const auto none = std::nanf("");
      intersections.push_back(hit.point ? at::tensor({(*hit.point)[0], (*hit.point)[1]})
                                        : at::tensor({none, none}));
      draws.push_back(noise.size(1) - static_cast<int64_t>(recorded->remaining()));
      CHECK(draws.back() == hit.noise_draws);
      distances.push_back(env.goal_distance());
      done.push_back(step.terminated);
      truncated.push_back(step.truncated);
      success.push_back(env.near_goal());
      collided.push_back(hit.point.has_value());
    }
    golden.compare("positions", at::stack(positions));
    golden.compare("intersection", at::stack(intersections));
    golden.compare("noise_draws_used", at::tensor(draws, at::kLong));
    golden.compare("distance_to_target", at::tensor(distances, at::kDouble).to(at::kFloat));
    golden.compare("done", at::tensor(done, at::kLong));
    golden.compare("truncated", at::tensor(truncated, at::kLong));
    golden.compare("success", at::tensor(success, at::kLong));
    golden.compare("collided", at::tensor(collided, at::kLong));
    const auto drawn = at::stack(frames);
    check_grey_levels(drawn.select(1, 0), golden.output("dot_frames"));
    check_grey_levels(drawn[0][1], golden.output("wall_frame"));
    env.set_state(env.goal());
    check_grey_levels(env.render(size), golden.output("target_obs"));
  });
}

TEST_CASE("a vertical step into a border meets it below the dot, where the reference makes NaN",
          "[parity]") {
  for_each_golden("eb_jepa/eb_jepa_env_vertical_nan_quirk", [](Golden& golden) {
    if (golden.name().find("quirk") == std::string::npos) return;
    const auto reference = golden.output("positions");
    REQUIRE(reference[2][0].isnan().item<bool>());
    EbTwoRooms env(eb_env_options_of(golden.config()));
    const auto wall = golden.input("wall_x"), door = golden.input("door_y");
    env.reset_to(eb_state_of(golden.input("start"), wall, door),
                 eb_state_of(golden.input("target"), wall, door));
    const auto actions = golden.input("actions"), noise = golden.input("noise");
    constexpr int64_t kSteps = 2;  // after them the reference goes on from NaN
    const auto total = reference.size(0) - 1;
    auto positions = at::zeros_like(reference);
    positions[0].copy_(env.state().narrow(0, 0, 2));
    auto intersections = at::full({total, 2}, std::nanf("")), distances = at::zeros({total});
    auto draws = at::zeros({total}, at::kLong), collided = at::zeros({total}, at::kLong);
    for (int64_t t = 0; t < kSteps; ++t) {
      auto recorded = std::make_shared<RecordedNoise>();
      recorded->push(noise[t][0]);
      env.use_noise(recorded);
      env.step(actions[t]);
      positions[t + 1].copy_(env.state().narrow(0, 0, 2));
      if (const auto& point = env.collision().point)
        intersections[t].copy_(at::tensor({(*point)[0], (*point)[1]}));
      distances[t].fill_(env.goal_distance());
      draws[t].fill_(env.collision().noise_draws);
      collided[t].fill_(env.collision().point.has_value());
    }
    // The row is the reference's; the column is the dot's own, plus the noise along the wall.
    REQUIRE(env.collision().point.has_value());
    CHECK((*env.collision().point)[0] == 20.0F);
    CHECK(std::abs(env.state()[0].item<float>() - (20 + 0.5F * noise[1][0][0].item<float>())) <
          1e-4F);
    const auto compare_steps = [&](const char* key, const Tensor& actual, int64_t rows) {
      auto where = golden.output(key).isfinite();
      where.slice(0, rows).fill_(false);
      CHECK(where.any().item<bool>());
      golden.compare_where(key, actual, where);
    };
    compare_steps("positions", positions, kSteps + 1);
    compare_steps("intersection", intersections, kSteps);
    compare_steps("distance_to_target", distances, kSteps);
    compare_steps("noise_draws_used", draws, kSteps);
    compare_steps("collided", collided, kSteps);
  });
}

}  // namespace foresight::envs
