// SPDX-License-Identifier: Apache-2.0
// TwoRoom: a dot in two rooms that are joined by doors, seen from above. Small enough to train a
// latent world model on within minutes, and with a detour that a greedy policy does not find.
//
// Reproduces swm/TwoRoom-v1 of stable-worldmodel 0.1.1 (MIT) exactly: states and distances to the
// last bit, pictures to the last grey level.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/envs/env.hpp"

namespace foresight::envs {

/// Which way the central wall runs.
enum class WallAxis {
  horizontal,  ///< along x, rooms above and below
  vertical,    ///< along y, rooms left and right
};

}  // namespace foresight::envs

template <>
struct foresight::EnumNames<foresight::envs::WallAxis> {
  using E = foresight::envs::WallAxis;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"horizontal", E::horizontal}, {"vertical", E::vertical}}};
};

namespace foresight::envs {

/// Everything that may differ between two worlds. Lengths in pixels of the native 224 x 224
/// picture, x to the right, y down; colours as RGB 0..255. Defaults are those of the reference
/// recordings.
struct FORESIGHT_API TwoRoomOptions {
  WallAxis wall_axis = WallAxis::vertical;
  int64_t wall_thickness = 10;  ///< 7..41; half of it (rounded down) counts on either side
  std::vector<int64_t> door_positions = {49};   ///< door centres along the wall, up to three
  std::vector<int64_t> door_half_sizes = {14};  ///< half the width of each door
  double agent_radius = 7;       ///< 7..14; also the standard deviation of the drawn blob
  double agent_speed = 5;        ///< 1.75..10.5 px per step at action 1
  double target_radius = 7;      ///< 7..14
  double success_distance = 16;  ///< an episode ends nearer than this
  bool render_target = false;    ///< draw the goal into the picture
  std::vector<int64_t> agent_color = {255, 0, 0};
  std::vector<int64_t> target_color = {0, 255, 0};
  std::vector<int64_t> wall_color = {0, 0, 0};
  std::vector<int64_t> door_color = {255, 255, 255};
  std::vector<int64_t> background_color = {255, 255, 255};
  int64_t max_episode_steps = 100;  ///< 0: never truncated

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("wall_axis", self.wall_axis, "which way the central wall runs");
    visit("wall_thickness", self.wall_thickness, "thickness of the central wall, px, 7..41");
    visit("door_positions", self.door_positions, "door centres along the wall, px, one to three");
    visit("door_half_sizes", self.door_half_sizes, "half the width of each door, px");
    visit("agent_radius", self.agent_radius, "agent radius, px, 7..14");
    visit("agent_speed", self.agent_speed, "px per step at action 1, 1.75..10.5");
    visit("target_radius", self.target_radius, "radius of the drawn goal, px, 7..14");
    visit("success_distance", self.success_distance, "an episode ends nearer to the goal, px");
    visit("render_target", self.render_target, "draw the goal into the picture");
    visit("agent_color", self.agent_color, "RGB 0..255");
    visit("target_color", self.target_color, "RGB 0..255");
    visit("wall_color", self.wall_color, "RGB 0..255, borders included");
    visit("door_color", self.door_color, "RGB 0..255");
    visit("background_color", self.background_color, "RGB 0..255");
    visit("max_episode_steps", self.max_episode_steps, "truncate after so many steps; 0: never");
  }
  std::vector<std::string> validate() const;
};

/// The TwoRoom world. Action: two floats, clamped to [-1,1], times the speed. State and goal: x, y
/// (float32, px). Observation (10): agent xy, goal xy, then (x, y) of up to three doors, zero
/// padded. Reward: 0.
///
/// Only the end point of a step is tested against the wall, and a blocked agent is put back in
/// front of it: inside a doorway, a sideways step that leaves the opening throws the agent back
/// into the room it counts as being in.
class FORESIGHT_API TwoRoom final : public Env {
 public:
  static constexpr int64_t kSize = 224;        ///< native picture, px
  static constexpr int64_t kCenter = 112;      ///< centre line of the wall
  static constexpr int64_t kBorder = 14;       ///< inner edge of the border line
  static constexpr double kDoorMargin = 1.75;  ///< tolerance on either side of a door
  static constexpr int64_t kMaxDoors = 3;

  /// Throws Error(invalid_option) that lists every broken rule.
  explicit TwoRoom(TwoRoomOptions options = {});
  ~TwoRoom() override;

  const EnvSpec& spec() const override { return spec_; }
  const TwoRoomOptions& options() const { return options_; }

  /// Start and goal are drawn independently and uniformly over the positions that an agent can take
  /// outside of the wall, in both rooms. The two may be nearer than success_distance: such an
  /// episode ends at its first step.
  EnvStep reset(std::uint64_t seed) override;
  EnvStep reset_to(const Tensor& state, const Tensor& goal) override;
  EnvStep step(const Tensor& action) override;
  Tensor state() const override;
  void set_state(const Tensor& state) override;
  Tensor goal() const override;
  void set_goal(const Tensor& goal) override;
  double goal_distance() const override;
  /// 224 is the picture as drawn; other sizes (1..1024) are made from it by an antialiased bilinear
  /// filter, as Pillow's resize does.
  Tensor render(int64_t size) const override;

 private:
  using Point = std::array<float, 2>;

  Point moved(const Point& from, const Point& action) const;
  bool in_door(double along_wall) const;
  EnvStep observe() const;

  TwoRoomOptions options_;
  EnvSpec spec_;
  Tensor background_;  // everything that does not move, uint8 [224,224,3]
  Point agent_{};
  Point goal_{};
  int64_t steps_ = 0;
};

}  // namespace foresight::envs
