// SPDX-License-Identifier: Apache-2.0
// Options of a reference run of EB-JEPA's Two Rooms, from the fixture's own settings.
#pragma once

#include <nlohmann/json.hpp>

#include "foresight/envs/eb_trajectories.hpp"
#include "foresight/envs/eb_two_rooms.hpp"

namespace foresight::envs {

inline EbTwoRoomsGeometry eb_geometry_of(const nlohmann::json& data) {
  EbTwoRoomsGeometry geometry;
  geometry.image_size = data.at("img_size");
  geometry.border = data.at("border_wall_loc");
  geometry.wall_width = data.at("wall_width");
  geometry.door_space = data.at("door_space");
  geometry.dot_std = data.at("dot_std");
  geometry.wall = data.at("fix_wall").get<bool>() ? WallPlacement::fixed : WallPlacement::random;
  geometry.wall_padding = data.at("wall_padding");
  geometry.door_padding = data.at("door_padding");
  geometry.fixed_wall_x = data.at("fix_wall_location");
  geometry.fixed_door_y = data.at("fix_door_location");
  return geometry;
}

inline EbTwoRoomsOptions eb_env_options_of(const nlohmann::json& config) {
  EbTwoRoomsOptions options;
  options.geometry = eb_geometry_of(config.at("data"));
  options.allowed_positions = config.at("env").at("n_allowed_steps");
  return options;
}

inline EbTrajectoryOptions eb_trajectory_options_of(const nlohmann::json& config) {
  const auto& data = config.at("data");
  EbTrajectoryOptions options;
  options.geometry = eb_geometry_of(data);
  options.positions = data.at("n_steps");
  options.window = data.at("sample_length");
  options.step_mean = data.at("action_step_mean");
  options.step_std = data.at("action_step_std");
  options.step_min = data.at("action_lower_bd");
  options.step_max = data.at("action_upper_bd");
  options.turn_concentration = 1 / data.at("action_angle_noise").get<double>();
  options.door_probability = data.at("cross_wall_rate");
  return options;
}

}  // namespace foresight::envs
