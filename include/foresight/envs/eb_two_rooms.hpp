// SPDX-License-Identifier: Apache-2.0
// The Two Rooms of EB-JEPA: a dot in two rooms with one door, seen from above: one plane of a
// small picture shows the dot, another one the walls. Start and goal lie in different rooms, so
// that every episode needs the door.
//
// Reproduces the environment of facebookresearch/eb_jepa, commit 966e61e (Apache-2.0): resets,
// steps for given collision noise, and pictures. (envs/two_room.hpp is another world, that of
// stable-worldmodel; numbers of the two do not compare.)
#pragma once

#include <array>
#include <memory>
#include <optional>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"
#include "foresight/envs/env.hpp"

namespace foresight::envs {

/// Where the wall and its door are put.
enum class WallPlacement {
  random,  ///< drawn for every episode
  fixed,   ///< always at fixed_wall_x, fixed_door_y
};

}  // namespace foresight::envs

template <>
struct foresight::EnumNames<foresight::envs::WallPlacement> {
  using E = foresight::envs::WallPlacement;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"random", E::random}, {"fixed", E::fixed}}};
};

namespace foresight::envs {

/// The rooms. Lengths in pixels of the picture, x to the right, y down.
struct FORESIGHT_API EbTwoRoomsGeometry {
  int64_t image_size = 65;  ///< side of the picture, S
  int64_t border = 5;       ///< border walls are the rows and columns border-1 and S-border
  int64_t wall_width = 3;  ///< half of it (rounded down) counts on either side of the wall's centre
  int64_t door_space = 4;  ///< the door is open so far on either side of its centre
  double dot_std = 1.3;    ///< standard deviation of the drawn dot
  WallPlacement wall = WallPlacement::random;
  int64_t wall_padding = 20;  ///< random: wall centres are padding..S-1-padding
  int64_t door_padding = 10;  ///< random: door centres are padding..S-1-padding
  int64_t fixed_wall_x = 32;  ///< eb_jepa's fixed wall
  int64_t fixed_door_y = 18;  ///< and its door

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("image_size", self.image_size, "side of the picture, px");
    visit("border", self.border, "border walls are rows and columns border-1 and size-border");
    visit("wall_width", self.wall_width, "width of the inner wall, px");
    visit("door_space", self.door_space, "half the height of the door, px");
    visit("dot_std", self.dot_std, "standard deviation of the drawn dot, px");
    visit("wall", self.wall, "where the inner wall and its door are put: random or fixed");
    visit("wall_padding", self.wall_padding,
          "random: px between a wall's centre and the picture's "
          "edge, at least");
    visit("door_padding", self.door_padding, "random: the same for a door's centre");
    visit("fixed_wall_x", self.fixed_wall_x, "fixed: centre column of the wall");
    visit("fixed_door_y", self.fixed_door_y, "fixed: centre row of the door");
  }
  std::vector<std::string> validate() const;

  /// Number of layouts that a layout index tells apart: walls x doors x 2. (The factor 2 is a wall
  /// type that eb_jepa draws and never uses.)
  int64_t layouts() const;
};

/// Where the wall and its door are in one episode.
struct EbLayout {
  int64_t wall_x = 32;  ///< centre column of the wall
  int64_t door_y = 18;  ///< centre row of the door
  bool operator==(const EbLayout&) const = default;
};

/// Layout number `index` of 0..layouts()-1, or the fixed one whatever the index. Throws
/// Error(invalid_argument) outside.
FORESIGHT_API EbLayout eb_layout(const EbTwoRoomsGeometry& geometry, int64_t index);

/// A picture as the model sees it, bytes [2,S,S]: plane 0 the dot around (x, y), 255 exp(-r^2 /
/// (2 std^2)) rounded down, plane 1 the walls, 0 or 255.
FORESIGHT_API Tensor eb_two_rooms_picture(const EbTwoRoomsGeometry& geometry,
                                          const EbLayout& layout, std::array<float, 2> dot);

/// Options of the environment; the defaults are those of eb_jepa's planning evaluation.
struct FORESIGHT_API EbTwoRoomsOptions {
  EbTwoRoomsGeometry geometry = {};
  double collision_std = 0.5;       ///< of the noise that a collision adds, px
  double action_limit = 2.45;       ///< of the action space; step() itself accepts any length
  double success_distance = 4.5;    ///< near_goal() is true nearer than this, px
  int64_t allowed_positions = 200;  ///< an episode is truncated when it has so many, the start
                                    ///< counted, that is, after one step less

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("geometry", self.geometry, "the rooms");
    visit("collision_std", self.collision_std, "noise that a collision adds, px");
    visit("action_limit", self.action_limit, "largest action per axis, px");
    visit("success_distance", self.success_distance, "the goal counts as reached nearer, px");
    visit("allowed_positions", self.allowed_positions,
          "positions of an episode, the start counted, before it is truncated");
  }
  std::vector<std::string> validate() const;
};

/// What the last step ran into.
struct EbCollision {
  std::optional<std::array<float, 2>> point;  ///< where the way met a wall; none: it met none
  int64_t noise_draws = 0;                    ///< normal pairs that the step drew
};

/// The world. Action: a displacement in px. State and goal: x, y, wall_x, door_y (float32), so that
/// a state says in which layout it is. Observation: x, y, goal x, goal y, wall_x, door_y.
/// `terminated` is eb_jepa's `done`: mean squared error of the position below 1 px^2; its
/// evaluation ignores that and asks near_goal() after the last step.
///
/// A way that meets a wall ends there, with half-normal noise away from the wall and normal noise
/// along it. (The trajectories to learn from, envs/eb_trajectories.hpp, have another rule: there a
/// blocked dot stays where it was.)
///
/// One deliberate difference: eb_jepa divides by the horizontal displacement, so that an exactly
/// vertical step (dx = 0) into a horizontal border makes x NaN for ever, and one inside the doorway
/// misses the door's edge. Here such a way is a vertical line: it meets the wall at x = the dot's.
class FORESIGHT_API EbTwoRooms final : public Env {
 public:
  /// Throws Error(invalid_option) that lists every broken rule.
  explicit EbTwoRooms(EbTwoRoomsOptions options = {});
  ~EbTwoRooms() override;

  const EnvSpec& spec() const override { return spec_; }
  const EbTwoRoomsOptions& options() const { return options_; }

  /// Draws layout, start and goal; the collision noise follows from the seed, too.
  EnvStep reset(std::uint64_t seed) override;
  /// The same from given draws: a layout index (see eb_layout()) and five numbers in [0, 1): start
  /// x, goal x, start y, goal y, and a coin that exchanges the rooms below 1/2.
  EnvStep reset_with(int64_t layout_index, const std::array<double, 5>& uniforms);
  /// `state` and `goal` must lie in the same layout and in the picture. The collision noise follows
  /// from the two: the same episode repeats.
  EnvStep reset_to(const Tensor& state, const Tensor& goal) override;
  /// Replaces the source of collision noise until the next reset: one normal pair [2] a draw.
  void use_noise(std::shared_ptr<Noise> noise);

  EnvStep step(const Tensor& action) override;
  Tensor state() const override;
  /// May change the layout; the goal then moves with it.
  void set_state(const Tensor& state) override;
  Tensor goal() const override;
  void set_goal(const Tensor& goal) override;
  /// px.
  double goal_distance() const override;
  bool near_goal() const { return goal_distance() < options_.success_distance; }

  const EbLayout& layout() const noexcept { return layout_; }
  const EbCollision& collision() const noexcept { return collision_; }

  /// Two planes [2,S,S], see eb_two_rooms_picture(). Of one size only: another `size` than the
  /// geometry's image_size is an Error(unsupported).
  Tensor render(int64_t size) const override;

 private:
  using Point = std::array<float, 2>;

  void place(const EbLayout& layout, const Point& start, const Point& goal);
  EnvStep observe() const;

  EbTwoRoomsOptions options_;
  EnvSpec spec_;
  EbLayout layout_;
  Point dot_{}, goal_{};
  EbCollision collision_;
  std::shared_ptr<Noise> noise_;
  int64_t steps_ = 0;
};

}  // namespace foresight::envs
