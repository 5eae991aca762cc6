// SPDX-License-Identifier: Apache-2.0
#include "foresight/envs/policies.hpp"

#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"
#include "foresight/envs/two_room.hpp"

namespace foresight::envs {

namespace {

// Unit vector from `from` to `to`, zero where they coincide.
Tensor direction(const Tensor& from, const Tensor& to) {
  const auto offset = (to - from).to(at::kFloat);
  const double norm = offset.norm().item<double>();
  return norm > 1e-8 ? offset / norm : at::zeros_like(offset);
}

}  // namespace

Tensor RandomPolicy::act(const Env& env, Noise& noise) {
  const auto& space = env.spec().action;
  require(
      !space.low.empty() && !space.high.empty(), ErrorCategory::unsupported,
      "RandomPolicy: environment '" + env.spec().name + "' has no action limits to draw between");
  const auto low = at::tensor(space.low), high = at::tensor(space.high);
  check_finite("RandomPolicy: action limits", low);
  check_finite("RandomPolicy: action limits", high);
  const auto u = noise.uniform({space.dim}).to(at::kDouble);
  return (low + (high - low) * u).to(at::kFloat);
}

Tensor StillPolicy::act(const Env& env, Noise&) {
  const auto& space = env.spec().action;
  return space.clamp_raw(at::zeros({space.dim}, at::kFloat));
}

Tensor StraightPolicy::act(const Env& env, Noise&) {
  const auto state = env.state();
  require(state.size(0) == env.spec().action.dim, ErrorCategory::unsupported,
          "StraightPolicy: environment '" + env.spec().name + "' has a state of " +
              std::to_string(state.size(0)) + " elements and actions of " +
              std::to_string(env.spec().action.dim) + "; a position and a velocity are expected");
  return direction(state, env.goal());
}

std::vector<std::string> TwoRoomExpertOptions::validate() const {
  Rules rules("TwoRoomExpertOptions");
  rules.check(noise_std >= 0 && std::isfinite(noise_std), "noise_std", noise_std, "must be >= 0");
  rules.check(repeat_probability >= 0 && repeat_probability < 1, "repeat_probability",
              repeat_probability, "must be in [0, 1)");
  rules.check(door_fit_margin >= 0 && std::isfinite(door_fit_margin), "door_fit_margin",
              door_fit_margin, "must be >= 0");
  rules.check(door_reach > 0 && std::isfinite(door_reach), "door_reach", door_reach, "must be > 0");
  return rules.problems();
}

TwoRoomExpert::TwoRoomExpert(TwoRoomExpertOptions options) : options_(options) {
  require_valid(options_);
}

namespace {

// Where the expert heads for: the goal, or the centre of the nearest fitting door while the goal is
// in the other room and the door is not reached. Without such a door: the point of the wall nearest
// to the goal.
Tensor waypoint(const TwoRoom& room, const TwoRoomExpertOptions& options) {
  const auto& world = room.options();
  const int64_t across = world.wall_axis == WallAxis::vertical ? 0 : 1;
  const auto agent = room.state(), goal = room.goal();
  const auto wall = static_cast<double>(TwoRoom::kCenter);
  const bool same_room =
      (agent[across].item<double>() > wall) == (goal[across].item<double>() > wall);
  if (same_room) return goal;

  auto on_wall = goal.clone();
  on_wall[across] = wall;
  Tensor best;
  double best_distance = std::numeric_limits<double>::infinity();
  for (std::size_t door = 0; door < world.door_positions.size(); ++door) {
    if (static_cast<double>(world.door_half_sizes[door]) <
        options.door_fit_margin * world.agent_radius)
      continue;
    auto centre = on_wall.clone();
    centre[1 - across] = static_cast<double>(world.door_positions[door]);
    const double distance = (centre - agent).norm().item<double>();
    if (distance < best_distance) {
      best_distance = distance;
      best = centre;
    }
  }
  if (!best.defined()) return on_wall;
  return best_distance > options.door_reach ? best : goal;
}

}  // namespace

Tensor TwoRoomExpert::act(const Env& env, Noise& noise) {
  const auto* room = dynamic_cast<const TwoRoom*>(&env);
  require(room != nullptr, ErrorCategory::unsupported,
          "TwoRoomExpert knows the doors of 'two_room' only, not of '" + env.spec().name + "'");
  auto action = direction(room->state(), waypoint(*room, options_));
  if (options_.noise_std > 0) action = action + options_.noise_std * noise.normal({2});
  if (options_.repeat_probability > 0) {
    const bool repeat = noise.uniform({1}).item<float>() < options_.repeat_probability;
    if (repeat && previous_.defined()) action = previous_;
  }
  previous_ = action.clamp(-1, 1);
  return previous_.clone();
}

}  // namespace foresight::envs
