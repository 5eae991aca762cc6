// SPDX-License-Identifier: Apache-2.0
// Turns between orientations as Euler angles in radians. Private to the data folder.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstddef>

namespace foresight::data {

using Rotation = std::array<std::array<double, 3>, 3>;

/// Extrinsic x, y, z: R = Rz(c) Ry(b) Rx(a).
inline Rotation rotation_of(const double* euler) {
  const double sa = std::sin(euler[0]), ca = std::cos(euler[0]);
  const double sb = std::sin(euler[1]), cb = std::cos(euler[1]);
  const double sc = std::sin(euler[2]), cc = std::cos(euler[2]);
  return {{{cc * cb, cc * sb * sa - sc * ca, cc * sb * ca + sc * sa},
           {sc * cb, sc * sb * sa + cc * ca, sc * sb * ca - cc * sa},
           {-sb, cb * sa, cb * ca}}};
}

/// Angles of next * previous^T, the turn that leads from one to the other in the world's frame.
inline void turn_between(const double* previous, const double* next, double* angles) {
  const Rotation p = rotation_of(previous), n = rotation_of(next);
  Rotation r{};
  for (std::size_t i = 0; i < 3; ++i)
    for (std::size_t j = 0; j < 3; ++j)
      for (std::size_t k = 0; k < 3; ++k) r[i][j] += n[i][k] * p[j][k];
  angles[0] = std::atan2(r[2][1], r[2][2]);
  angles[1] = std::asin(std::clamp(-r[2][0], -1.0, 1.0));
  angles[2] = std::atan2(r[1][0], r[0][0]);
}

}  // namespace foresight::data
