// SPDX-License-Identifier: Apache-2.0
// How the dot of EB-JEPA's Two Rooms moves: two rules, one of the environment and one of the
// recorded trajectories. Plain float32 arithmetic, as in the reference.
#pragma once

#include <array>
#include <functional>

#include "foresight/envs/eb_two_rooms.hpp"

namespace foresight::envs {

using EbPoint = std::array<float, 2>;

/// The lines that stop the dot.
struct EbWalls {
  EbWalls(const EbTwoRoomsGeometry& geometry, const EbLayout& layout);

  float near_border, far_border;  // columns and rows of the border walls
  float wall_x;                   // centre column of the inner wall
  float wall_left, wall_right;    // its outer columns
  float door_top, door_bottom;    // rows between which it is open, both included

  bool in_door(float y) const { return y >= door_top && y <= door_bottom; }
  bool in_wall_columns(float x) const { return x >= wall_left && x <= wall_right; }
};

/// Where a way ended, and what it met.
struct EbMotion {
  EbPoint to{};
  EbCollision collision;
};

/// The environment's rule; `noise` draws a pair of collision noise in px.
EbMotion eb_moved(const EbWalls& walls, const EbPoint& from, const EbPoint& action,
                  const std::function<EbPoint()>& noise);

/// The trajectories' rule: whether a way is blocked, so that the dot stays.
bool eb_blocked(const EbWalls& walls, const EbPoint& from, const EbPoint& to);

}  // namespace foresight::envs
