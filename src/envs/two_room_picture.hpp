// SPDX-License-Identifier: Apache-2.0
// How TwoRoom is drawn: a static background, and blobs blended over it.
#pragma once

#include <array>
#include <vector>

#include "foresight/envs/two_room.hpp"

namespace foresight::envs {

/// Background, doors, wall and borders: uint8 [224,224,3].
Tensor two_room_background(const TwoRoomOptions& options);

/// Blends a Gaussian blob of standard deviation `radius`, scaled to 1 at its brightest pixel, over
/// `picture` (uint8 [H,W,3], changed in place). The centre must lie inside the picture.
void draw_blob(Tensor& picture, const std::array<float, 2>& centre, float radius,
               const std::vector<int64_t>& color);

/// Antialiased bilinear resize of uint8 [H,W,3] to [size,size,3].
Tensor resized(const Tensor& picture, int64_t size);

}  // namespace foresight::envs
