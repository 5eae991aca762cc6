// SPDX-License-Identifier: Apache-2.0
#include "eb_two_rooms_motion.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::envs {
namespace {

constexpr float kOffWall = 0.3F;  // a dot that ends exactly on a wall is moved so far inwards

float sign_of(float value) { return static_cast<float>((value > 0) - (value < 0)); }

// The other coordinate where the way's coordinate `axis` equals `line`. A way along the line meets
// it where it starts: this mends the reference, which divides by zero there.
float crossing(const EbPoint& from, const EbPoint& to, std::size_t axis, float line) {
  const float along = to[axis] - from[axis];
  const float share = along == 0 ? 0.0F : (line - from[axis]) / along;
  return from[1 - axis] + share * (to[1 - axis] - from[1 - axis]);
}

bool meets(float from, float to, float line) {
  return sign_of(from - line) * sign_of(to - line) <= 0;
}

float squared_distance(const EbPoint& a, const EbPoint& b) {
  return (a[0] - b[0]) * (a[0] - b[0]) + (a[1] - b[1]) * (a[1] - b[1]);
}

// Noise of a collision with a line across `axis`: away from the wall along that axis, to the side
// that the way came from.
EbPoint rebound(EbPoint noise, std::size_t axis, float side) {
  noise[axis] = side * std::abs(noise[axis]);
  return noise;
}

// The side of `line` that a way comes from; a way that starts on it comes from inside.
float side_of(float from, float line, float inside) {
  return from == line ? inside : sign_of(from - line);
}

// What one collision with a wall would do.
struct Hit {
  EbPoint point;
  std::size_t axis;  // the coordinate that the wall fixes
  float side;
};

// A way inside the doorway that leaves it through the wall below or above.
std::optional<Hit> door_edge(const EbWalls& walls, const EbPoint& from, const EbPoint& to) {
  const bool down = from[1] < walls.door_bottom && walls.door_bottom < to[1];
  const bool up = from[1] > walls.door_top && walls.door_top > to[1];
  for (const auto& [leaves, edge, side] :
       {std::tuple{down, walls.door_bottom, -1.0F}, std::tuple{up, walls.door_top, 1.0F}}) {
    if (!leaves) continue;
    const float x = crossing(from, to, 1, edge);
    if (walls.in_wall_columns(x)) return Hit{{x, edge}, 1, side};
  }
  return {};
}

}  // namespace

EbWalls::EbWalls(const EbTwoRoomsGeometry& geometry, const EbLayout& layout)
    : near_border(static_cast<float>(geometry.border - 1)),
      far_border(static_cast<float>(geometry.image_size - geometry.border)),
      wall_x(static_cast<float>(layout.wall_x)),
      wall_left(static_cast<float>(layout.wall_x - geometry.wall_width / 2)),
      wall_right(static_cast<float>(layout.wall_x + geometry.wall_width / 2)),
      door_top(static_cast<float>(layout.door_y - geometry.door_space)),
      door_bottom(static_cast<float>(layout.door_y + geometry.door_space)) {}

EbMotion eb_moved(const EbWalls& walls, const EbPoint& from, const EbPoint& action,
                  const std::function<EbPoint()>& noise) {
  EbMotion motion;
  motion.to = {from[0] + action[0], from[1] + action[1]};
  auto& to = motion.to;
  auto& collision = motion.collision;
  const auto draw = [&] {
    ++collision.noise_draws;
    return noise();
  };

  if (const auto edge = door_edge(walls, from, to)) {
    const auto away = rebound(draw(), edge->axis, edge->side);
    collision.point = edge->point;
    to = {edge->point[0] + away[0], edge->point[1] + away[1]};  // not clamped, as in the reference
    return motion;
  }

  // The room that the dot counts as being in: the inner wall's side towards it, door open.
  const bool left_room = walls.wall_x > from[0];
  const float left = left_room ? walls.near_border : walls.wall_right;
  const float right = left_room ? walls.wall_left : walls.far_border;

  std::optional<Hit> across, along;
  for (const float line : {left, right}) {
    if (across || !meets(from[0], to[0], line)) continue;
    const float y = crossing(from, to, 0, line);
    const bool has_door = line == (left_room ? right : left);
    if (has_door && walls.in_door(y)) continue;
    across = Hit{{line, y}, 0, side_of(from[0], line, line == left ? 1.0F : -1.0F)};
  }
  for (const float line : {walls.near_border, walls.far_border}) {
    if (along || !meets(from[1], to[1], line)) continue;
    const float x = crossing(from, to, 1, line);
    along = Hit{{x, line}, 1, side_of(from[1], line, line == walls.near_border ? 1.0F : -1.0F)};
  }
  if (!across && !along) return motion;

  // Both are drawn for, whichever of the two counts.
  const auto across_noise = across ? rebound(draw(), 0, across->side) : EbPoint{};
  const auto along_noise = along ? rebound(draw(), 1, along->side) : EbPoint{};
  const bool first = across && (!along || squared_distance(from, across->point) <
                                              squared_distance(from, along->point));
  const auto& hit = first ? *across : *along;
  const auto& away = first ? across_noise : along_noise;
  collision.point = hit.point;
  const EbPoint low{left, walls.near_border}, high{right, walls.far_border};
  for (std::size_t axis = 0; axis < 2; ++axis) {
    to[axis] = std::clamp(hit.point[axis] + away[axis], low[axis], high[axis]);
    if (to[axis] == low[axis]) to[axis] += kOffWall;
    if (to[axis] == high[axis]) to[axis] -= kOffWall;
  }
  return motion;
}

bool eb_blocked(const EbWalls& walls, const EbPoint& from, const EbPoint& to) {
  for (std::size_t axis = 0; axis < 2; ++axis)
    for (const float line : {walls.near_border, walls.far_border})
      if (meets(from[axis], to[axis], line)) return true;
  if (door_edge(walls, from, to)) return true;
  for (const float line : {walls.wall_left, walls.wall_right}) {
    if (sign_of(from[0] - line) * sign_of(to[0] - line) >= 0) continue;
    if (!walls.in_door(crossing(from, to, 0, line))) return true;
  }
  return false;
}

}  // namespace foresight::envs
