// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/pose.hpp"

#include "foresight/core/error.hpp"

namespace foresight::models {
namespace {

void check_last(const char* name, const Tensor& tensor, int64_t width) {
  require(tensor.defined() && tensor.dim() >= 1 && tensor.size(-1) == width,
          ErrorCategory::invalid_argument,
          std::string(name) + " has shape " +
              (tensor.defined() ? shape_string(tensor.sizes()) : std::string("undefined")) +
              ", expected [..., " + std::to_string(width) + "]");
}

Tensor position(const Tensor& pose) { return pose.narrow(-1, 0, 3); }
Tensor angles(const Tensor& pose) { return pose.narrow(-1, 3, 3); }
Tensor opening(const Tensor& pose) { return pose.narrow(-1, 6, 1); }

}  // namespace

Tensor euler_to_matrix(const Tensor& angles) {
  check_last("Euler angles", angles, 3);
  const auto wide = angles.to(at::kDouble);
  const auto c = at::cos(wide).unbind(-1), s = at::sin(wide).unbind(-1);
  const auto row = [](const Tensor& x, const Tensor& y, const Tensor& z) {
    return at::stack({x, y, z}, -1);
  };
  return at::stack(
      {row(c[2] * c[1], c[2] * s[1] * s[0] - s[2] * c[0], c[2] * s[1] * c[0] + s[2] * s[0]),
       row(s[2] * c[1], s[2] * s[1] * s[0] + c[2] * c[0], s[2] * s[1] * c[0] - c[2] * s[0]),
       row(-s[1], c[1] * s[0], c[1] * c[0])},
      -2);
}

Tensor matrix_to_euler(const Tensor& rotation) {
  require(
      rotation.defined() && rotation.dim() >= 2 && rotation.size(-1) == 3 && rotation.size(-2) == 3,
      ErrorCategory::invalid_argument,
      "rotation has shape " +
          (rotation.defined() ? shape_string(rotation.sizes()) : std::string("undefined")) +
          ", expected [..., 3, 3]");
  constexpr double kLock = 1e-7;
  const auto r = rotation.to(at::kDouble);
  const auto entry = [&](int64_t i, int64_t j) { return r.select(-2, i).select(-1, j); };
  const auto locked = (entry(0, 0).square() + entry(1, 0).square()).lt(kLock * kLock);
  // Where the pose is locked, arguments are replaced beforehand: the derivatives at (0, 0) are not
  // finite and would spoil the gradient even though where() does not select them.
  const auto unless_locked = [&](const Tensor& x, double instead) {
    return at::where(locked, at::full_like(x, instead), x);
  };
  const auto angle = [&](const Tensor& y, const Tensor& x) {
    return at::atan2(unless_locked(y, 0.0), unless_locked(x, 1.0));
  };
  const auto cosine = at::hypot(unless_locked(entry(0, 0), 1.0), entry(1, 0));
  const auto middle = at::atan2(-entry(2, 0), unless_locked(cosine, 0.0));
  const auto turn = at::atan2(at::where(entry(2, 0).lt(0), entry(0, 1), -entry(0, 1)), entry(1, 1));
  return at::stack({at::where(locked, turn, angle(entry(2, 1), entry(2, 2))), middle,
                    angle(entry(1, 0), entry(0, 0))},
                   -1);
}

Tensor integrate_pose(const Tensor& pose, const Tensor& action) {
  check_last("pose", pose, kPoseWidth);
  check_last("action", action, kPoseWidth);
  const auto turned =
      matrix_to_euler(at::matmul(euler_to_matrix(angles(action)), euler_to_matrix(angles(pose))));
  return at::cat({position(pose) + position(action), turned.to(pose.scalar_type()),
                  (opening(pose) + opening(action)).clamp(0.0, 1.0)},
                 -1);
}

Tensor pose_difference(const Tensor& from, const Tensor& to) {
  check_last("pose", from, kPoseWidth);
  check_last("pose", to, kPoseWidth);
  const auto turned = matrix_to_euler(
      at::matmul(euler_to_matrix(angles(to)), euler_to_matrix(angles(from)).transpose(-2, -1)));
  const auto difference = to.to(at::kDouble) - from.to(at::kDouble);
  return at::cat({position(difference), turned, opening(difference)}, -1);
}

Tensor in_camera_frame(const Tensor& poses, const Tensor& extrinsics) {
  check_last("pose", poses, kPoseWidth);
  check_last("camera pose", extrinsics, 6);
  const auto wide = poses.to(at::kDouble), camera = extrinsics.to(at::kDouble);
  const auto back = euler_to_matrix(camera.narrow(-1, 3, 3)).transpose(-2, -1);
  const auto moved = at::matmul(back, (position(wide) - position(camera)).unsqueeze(-1));
  const auto turned = matrix_to_euler(at::matmul(back, euler_to_matrix(angles(wide))));
  return at::cat({moved.squeeze(-1), turned, opening(wide)}, -1);
}

}  // namespace foresight::models
