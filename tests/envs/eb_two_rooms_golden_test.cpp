// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's Two Rooms against runs of the reference environment with recorded draws.
#include <cmath>

#include "catch.hpp"
#include "envs/eb_golden_options.hpp"
#include "foresight/envs/eb_two_rooms.hpp"
#include "golden.hpp"

namespace foresight::envs {
namespace {

Tensor eb_state_of(const Tensor& point, const Tensor& wall_x, const Tensor& door_y) {
  return at::cat({point.to(at::kFloat), wall_x.to(at::kFloat).reshape({1}),
                  door_y.to(at::kFloat).reshape({1})});
}

// The first row where the reference's dot is nowhere (its vertical steps into a border make NaN),
// or the number of rows.
int64_t first_nan(const Golden& golden) {
  const auto nowhere = golden.output("positions").isnan().any(1);
  return nowhere.any().item<bool>() ? nowhere.to(at::kLong).argmax().item<int64_t>()
                                    : nowhere.size(0);
}

}  // namespace

TEST_CASE("resets put wall, door, start and goal where the reference puts them", "[parity]") {
  for_each_golden("eb_jepa/env_reset", [](Golden& golden) {
    for (const auto& item : golden.config().at("cases")) {
      const auto name = item.at("name").get<std::string>();
      INFO(name);
      EbTwoRooms env(eb_env_options_of(item));
      const auto size = env.options().geometry.image_size;
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
      golden.compare_pictures(name + ".obs", env.render(size));
      env.set_state(env.goal());
      golden.compare_pictures(name + ".target_obs", env.render(size));
    }
    CHECK(golden.uncompared("outputs").empty());
  });
}

TEST_CASE("scripted walks end where the reference's do, with its collisions and noise",
          "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("environments run on the CPU");
  for_each_golden("eb_jepa/env_trace", [](Golden& golden) {
    if (first_nan(golden) < golden.output("positions").size(0)) return;  // its own test, below
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
    golden.compare_pictures("dot_frames", drawn.select(1, 0));
    golden.compare_pictures("wall_frame", drawn[0][1]);
    env.set_state(env.goal());
    golden.compare_pictures("target_obs", env.render(size));
    CHECK(golden.uncompared("outputs").empty());
  });
}

TEST_CASE("a vertical step into a border meets it below the dot, where the reference makes NaN",
          "[parity]") {
  if (!on_cpu()) FORESIGHT_SKIP("environments run on the CPU");
  int64_t compared = 0;
  for_each_golden("eb_jepa/env_trace", [&](Golden& golden) {
    const auto reference = golden.output("positions");
    const auto steps = first_nan(golden);  // after them the reference goes on from NaN
    if (steps == reference.size(0)) return;
    ++compared;
    EbTwoRooms env(eb_env_options_of(golden.config()));
    const auto wall = golden.input("wall_x"), door = golden.input("door_y");
    env.reset_to(eb_state_of(golden.input("start"), wall, door),
                 eb_state_of(golden.input("target"), wall, door));
    const auto actions = golden.input("actions"), noise = golden.input("noise");
    const auto total = reference.size(0) - 1;
    auto positions = at::zeros_like(reference);
    positions[0].copy_(env.state().narrow(0, 0, 2));
    auto intersections = at::full({total, 2}, std::nanf("")), distances = at::zeros({total});
    auto draws = at::zeros({total}, at::kLong), collided = at::zeros({total}, at::kLong);
    auto done = at::zeros_like(draws), truncated = at::zeros_like(draws);
    auto success = at::zeros_like(draws);
    const auto size = env.options().geometry.image_size;
    auto dots = at::zeros_like(golden.output("dot_frames"));
    dots[0].copy_(env.render(size)[0]);
    float column = 0;  // of the dot before its last step
    for (int64_t t = 0; t < steps; ++t) {
      auto recorded = std::make_shared<RecordedNoise>();
      for (int64_t k = 0; k < noise.size(1); ++k) recorded->push(noise[t][k]);
      env.use_noise(recorded);
      column = env.state()[0].item<float>();
      const auto step = env.step(actions[t]);
      done[t].fill_(step.terminated);
      truncated[t].fill_(step.truncated);
      success[t].fill_(env.near_goal());
      dots[t + 1].copy_(env.render(size)[0]);
      positions[t + 1].copy_(env.state().narrow(0, 0, 2));
      if (const auto& point = env.collision().point)
        intersections[t].copy_(at::tensor({(*point)[0], (*point)[1]}));
      distances[t].fill_(env.goal_distance());
      draws[t].fill_(env.collision().noise_draws);
      collided[t].fill_(env.collision().point.has_value());
    }
    // The row is the reference's; the column is the dot's own, plus the noise along the wall.
    REQUIRE(env.collision().point.has_value());
    CHECK((*env.collision().point)[0] == column);
    const auto drawn_last = noise[steps - 1][env.collision().noise_draws - 1][0].item<float>();
    CHECK(std::abs(env.state()[0].item<float>() - (column + 0.5F * drawn_last)) < 1e-4F);
    const auto compare_steps = [&](const char* key, const Tensor& actual, int64_t rows) {
      auto where = golden.output(key).isfinite();
      where.slice(0, rows).fill_(false);
      CHECK(where.any().item<bool>());
      golden.compare_where(key, actual, where);
    };
    compare_steps("positions", positions, steps + 1);
    compare_steps("intersection", intersections, steps);
    compare_steps("distance_to_target", distances, steps);
    compare_steps("noise_draws_used", draws, steps);
    compare_steps("collided", collided, steps);
    compare_steps("done", done, steps);
    compare_steps("truncated", truncated, steps);
    compare_steps("success", success, steps);
    auto drawn = at::zeros_like(dots, at::kBool);  // of the last step, NaN is drawn there
    drawn.slice(0, 0, steps).fill_(true);
    golden.compare_pictures("dot_frames", dots, drawn);
    golden.compare_pictures("wall_frame", env.render(size)[1]);
    env.set_state(env.goal());
    golden.compare_pictures("target_obs", env.render(size));
    CHECK(golden.uncompared("outputs").empty());
  });
  CHECK(compared > 0);
}

}  // namespace foresight::envs
