// SPDX-License-Identifier: Apache-2.0
// TwoRoom's rules of motion. Every operation is done in the precision in which the reference does
// it (float32 for the move, double for the walls, float32 with one fused step for the distance), so
// that recorded episodes replay exactly.
#include "foresight/envs/two_room.hpp"

#include <algorithm>
#include <cmath>
#include <string>

#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"
#include "two_room_picture.hpp"

namespace foresight::envs {

namespace {

constexpr std::uint64_t kResetStream =
    0x72657365;  // keeps resets apart from other users of the same seed

std::string list_string(const std::vector<int64_t>& values) { return shape_string(values); }

void check_color(Rules& rules, std::string_view field, const std::vector<int64_t>& color) {
  const bool holds = color.size() == 3 && std::all_of(color.begin(), color.end(),
                                                      [](int64_t c) { return c >= 0 && c <= 255; });
  rules.check(holds, field, list_string(color), "must be three values in 0..255");
}

std::array<float, 2> read_point(std::string_view name, const Tensor& tensor) {
  check_shape(name, tensor, {2}, "[2]");
  check_finite(name, tensor);
  const auto values = tensor.detach().to(at::kCPU, at::kFloat).contiguous();
  return {values.data_ptr<float>()[0], values.data_ptr<float>()[1]};
}

std::array<float, 2> read_position(std::string_view name, const Tensor& tensor) {
  const auto point = read_point(name, tensor);
  for (const float coordinate : point)
    require(coordinate >= 0 && coordinate <= TwoRoom::kSize, ErrorCategory::invalid_argument,
            std::string(name) + " = (" + std::to_string(point[0]) + ", " +
                std::to_string(point[1]) + ") lies outside of the picture, accepted: 0.." +
                std::to_string(TwoRoom::kSize));
  return point;
}

Tensor point_tensor(const std::array<float, 2>& point) { return at::tensor({point[0], point[1]}); }

}  // namespace

std::vector<std::string> TwoRoomOptions::validate() const {
  Rules rules("TwoRoomOptions");
  rules.check(wall_thickness >= 7 && wall_thickness <= 41, "wall_thickness",
              static_cast<double>(wall_thickness), "must be in 7..41");
  rules.check(!door_positions.empty() && door_positions.size() <= TwoRoom::kMaxDoors,
              "door_positions", list_string(door_positions), "must name one to three doors");
  rules.check(door_half_sizes.size() == door_positions.size(), "door_half_sizes",
              list_string(door_half_sizes), "must have one entry per door position");
  for (const auto position : door_positions)
    rules.check(position >= 0 && position < TwoRoom::kSize, "door_positions",
                static_cast<double>(position), "must be in 0..223");
  for (const auto half : door_half_sizes)
    rules.check(half >= 1 && half <= TwoRoom::kCenter, "door_half_sizes", static_cast<double>(half),
                "must be in 1..112");
  rules.check(agent_radius >= 7 && agent_radius <= 14, "agent_radius", agent_radius,
              "must be in 7..14");
  rules.check(target_radius >= 7 && target_radius <= 14, "target_radius", target_radius,
              "must be in 7..14");
  rules.check(agent_speed >= 1.75 && agent_speed <= 10.5, "agent_speed", agent_speed,
              "must be in 1.75..10.5");
  rules.check(success_distance > 0 && std::isfinite(success_distance), "success_distance",
              success_distance, "must be > 0");
  rules.check(max_episode_steps >= 0, "max_episode_steps", static_cast<double>(max_episode_steps),
              "must be >= 0");
  check_color(rules, "agent_color", agent_color);
  check_color(rules, "target_color", target_color);
  check_color(rules, "wall_color", wall_color);
  check_color(rules, "door_color", door_color);
  check_color(rules, "background_color", background_color);
  return rules.problems();
}

TwoRoom::TwoRoom(TwoRoomOptions options) : options_(std::move(options)) {
  require_valid(options_);
  spec_.name = "two_room";
  spec_.action.dim = 2;
  spec_.action.low = {-1, -1};
  spec_.action.high = {1, 1};
  spec_.state_names = {"x", "y"};
  spec_.observation_names = {"agent_x", "agent_y", "goal_x", "goal_y"};
  for (int64_t door = 0; door < kMaxDoors; ++door)
    for (const char* axis : {"x", "y"})
      spec_.observation_names.push_back("door_" + std::to_string(door) + "_" + axis);
  spec_.native_size = kSize;
  spec_.max_episode_steps = options_.max_episode_steps;
  background_ = two_room_background(options_);
  // The reference's defaults: the middle of the left room, and of the right one.
  agent_ = {60, 112};
  goal_ = {164, 112};
}

TwoRoom::~TwoRoom() = default;

EnvStep TwoRoom::reset(std::uint64_t seed) {
  PhiloxNoise noise(seed, kResetStream);
  const double low = kBorder + options_.agent_radius;
  const double high = kSize - kBorder - options_.agent_radius;
  const double reach = static_cast<double>(options_.wall_thickness / 2) + options_.agent_radius;
  const int across = options_.wall_axis == WallAxis::vertical ? 0 : 1;
  // The wall takes at most a third of the square, so that rejection ends after a few draws.
  auto draw_free = [&] {
    while (true) {
      const auto u = noise.uniform({2});
      Point point;
      for (int axis = 0; axis < 2; ++axis)
        point[axis] = static_cast<float>(low + (high - low) * u.data_ptr<float>()[axis]);
      if (std::abs(point[across] - static_cast<double>(kCenter)) > reach) return point;
    }
  };
  agent_ = draw_free();
  goal_ = draw_free();
  steps_ = 0;
  return observe();
}

EnvStep TwoRoom::reset_to(const Tensor& state, const Tensor& goal) {
  const auto agent = read_position("TwoRoom: state", state);
  goal_ = read_position("TwoRoom: goal", goal);
  agent_ = agent;
  steps_ = 0;
  return observe();
}

EnvStep TwoRoom::step(const Tensor& action) {
  const auto raw = read_point("TwoRoom: action", action);
  agent_ = moved(agent_, {std::clamp(raw[0], -1.0f, 1.0f), std::clamp(raw[1], -1.0f, 1.0f)});
  ++steps_;
  return observe();
}

TwoRoom::Point TwoRoom::moved(const Point& from, const Point& action) const {
  // Radius and speed are float32 numbers in the reference, the limits made from them are not.
  const auto speed = static_cast<double>(static_cast<float>(options_.agent_speed));
  const auto radius = static_cast<double>(static_cast<float>(options_.agent_radius));
  Point to;
  for (int axis = 0; axis < 2; ++axis) {
    // A product of two floats is exact in double: rounding it here keeps compilers from fusing it
    // with the sum.
    const auto stride = static_cast<float>(static_cast<double>(action[axis]) * speed);
    const double wanted = from[axis] + stride;
    to[axis] =
        static_cast<float>(std::min(std::max(wanted, kBorder + radius), kSize - kBorder - radius));
  }
  const int across = options_.wall_axis == WallAxis::vertical ? 0 : 1;
  const double half = static_cast<double>(options_.wall_thickness / 2);
  if (in_door(to[1 - across])) return to;
  const double near_side = kCenter - half - radius;
  const double far_side = kCenter + half + radius;
  if (from[across] < kCenter) {
    if (to[across] > near_side) to[across] = static_cast<float>(near_side - 0.5);
  } else if (to[across] < far_side) {
    to[across] = static_cast<float>(far_side + 0.5);
  }
  return to;
}

bool TwoRoom::in_door(double along_wall) const {
  for (std::size_t door = 0; door < options_.door_positions.size(); ++door) {
    const auto centre = static_cast<double>(options_.door_positions[door]);
    const auto reach = static_cast<double>(options_.door_half_sizes[door]) + kDoorMargin;
    if (along_wall >= centre - reach && along_wall <= centre + reach) return true;
  }
  return false;
}

EnvStep TwoRoom::observe() const {
  std::vector<float> values = {agent_[0], agent_[1], goal_[0], goal_[1]};
  const auto wall = static_cast<float>(kCenter);
  for (std::size_t door = 0; door < options_.door_positions.size(); ++door) {
    const auto centre = static_cast<float>(options_.door_positions[door]);
    const bool vertical = options_.wall_axis == WallAxis::vertical;
    values.push_back(vertical ? wall : centre);
    values.push_back(vertical ? centre : wall);
  }
  values.resize(spec_.observation_names.size(), 0.0f);
  EnvStep result;
  result.observation = at::tensor(values);
  result.terminated = goal_distance() < options_.success_distance;
  result.truncated = options_.max_episode_steps > 0 && steps_ >= options_.max_episode_steps;
  return result;
}

Tensor TwoRoom::state() const { return point_tensor(agent_); }
void TwoRoom::set_state(const Tensor& state) { agent_ = read_position("TwoRoom: state", state); }
Tensor TwoRoom::goal() const { return point_tensor(goal_); }
void TwoRoom::set_goal(const Tensor& goal) { goal_ = read_position("TwoRoom: goal", goal); }

double TwoRoom::goal_distance() const {
  const float dx = agent_[0] - goal_[0];
  const float dy = agent_[1] - goal_[1];
  return std::sqrt(std::fma(dy, dy, dx * dx));
}

Tensor TwoRoom::render(int64_t size) const {
  require(size >= 1 && size <= 1024, ErrorCategory::invalid_argument,
          "TwoRoom::render: size = " + std::to_string(size) + ", accepted: 1..1024");
  auto picture = background_.clone();
  if (options_.render_target)
    draw_blob(picture, goal_, static_cast<float>(options_.target_radius), options_.target_color);
  draw_blob(picture, agent_, static_cast<float>(options_.agent_radius), options_.agent_color);
  return size == kSize ? picture : resized(picture, size);
}

}  // namespace foresight::envs
