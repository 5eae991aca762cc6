// SPDX-License-Identifier: Apache-2.0
// Poses of a robot's gripper as V-JEPA 2-AC counts them: x, y, z, three Euler angles, opening. An
// action is the change of a pose, so imagining one means integrating it.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::models {

/// Numbers of a pose and of an action.
inline constexpr int64_t kPoseWidth = 7;

/// Extrinsic x-y-z Euler angles [...,3] in radians -> rotation matrices Rz Ry Rx [...,3,3],
/// float64.
FORESIGHT_API Tensor euler_to_matrix(const Tensor& angles);

/// The reverse, float64: angles in (-pi, pi], the middle one in [-pi/2, pi/2]. In gimbal lock
/// (|middle| = pi/2 to 1e-7) the third angle is 0 and the first holds the whole turn.
FORESIGHT_API Tensor matrix_to_euler(const Tensor& rotation);

/// The pose [...,7] after an action [...,7]: positions add, rotations compose as R(action) R(pose)
/// in float64, the opening adds and is clamped to [0, 1]. Differentiable; dtype of `pose`.
FORESIGHT_API Tensor integrate_pose(const Tensor& pose, const Tensor& action);

/// The action that leads from one pose [...,7] to another: difference of positions, R(to)
/// R(from)^T, difference of openings. float64.
FORESIGHT_API Tensor pose_difference(const Tensor& from, const Tensor& to);

/// Poses [...,7] of the robot's base frame in the frame of a camera whose own pose is [...,6]
/// (position and Euler angles): inverse(E) P. float64.
FORESIGHT_API Tensor in_camera_frame(const Tensor& poses, const Tensor& extrinsics);

}  // namespace foresight::models
