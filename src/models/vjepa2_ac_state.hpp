// SPDX-License-Identifier: Apache-2.0
// Field names of the state of V-JEPA 2-AC, and its rings.
#pragma once

#include "foresight/core/state.hpp"
#include "state_names.hpp"

namespace foresight::models::ac {

inline constexpr const char* kPose = "pose";
inline constexpr const char* kCamera = "camera";
inline constexpr const char* kPastLatents = "past_latents";
inline constexpr const char* kPastPoses = "past_poses";
inline constexpr const char* kPastActions = "past_actions";
inline constexpr const char* kPastCameras = "past_cameras";

/// The last `count` rows of a ring [N,W-1,...].
inline Tensor newest(const State& state, const char* ring, int64_t count) {
  const auto& rows = state.at(ring);
  return rows.narrow(1, rows.size(1) - count, count);
}

}  // namespace foresight::models::ac
