// SPDX-License-Identifier: Apache-2.0
// What EB-JEPA's Two Rooms model learns from: random walks through the rooms, made as they are
// needed. No files: a trajectory is a function of the options, a seed and its number, so that
// training sees fresh data forever and repeats exactly.
//
// Reproduces the trajectory generator of facebookresearch/eb_jepa, commit 966e61e (Apache-2.0), for
// given draws. Collisions differ from the environment's on purpose, as they do there: a dot that
// would meet a wall stays where it was, and the recorded action is the one that was tried.
#pragma once

#include <cstdint>

#include "foresight/core/options.hpp"
#include "foresight/core/variates.hpp"
#include "foresight/envs/eb_two_rooms.hpp"

namespace foresight::envs {

/// The walks; the defaults are eb_jepa's. Lengths in px, angles in radians.
struct FORESIGHT_API EbTrajectoryOptions {
  EbTwoRoomsGeometry geometry = {};
  int64_t positions = 91;           ///< of a walk, the start counted; the last one is never used
  int64_t window = 17;              ///< consecutive positions that are learned from
  double step_mean = 1.0;           ///< step lengths: normal, truncated to [step_min, step_max]
  double step_std = 0.4;            ///< their standard deviation before truncation
  double step_min = 0.2;            ///< shortest step
  double step_max = 1.8;            ///< longest step
  double turn_concentration = 5.0;  ///< of the von Mises distribution of turns; 1/0.2
  double door_probability = 0.35;   ///< walks that are made to pass through the door
  double door_std = 1.4;            ///< spread of their crossing points along the door

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("geometry", self.geometry, "the rooms");
    visit("positions", self.positions, "positions of a walk, the start counted");
    visit("window", self.window, "consecutive positions that are learned from");
    visit("step_mean", self.step_mean, "mean length of a step before truncation, px");
    visit("step_std", self.step_std, "its standard deviation before truncation, px");
    visit("step_min", self.step_min, "shortest step, px");
    visit("step_max", self.step_max, "longest step, px");
    visit("turn_concentration", self.turn_concentration, "von Mises concentration of turns");
    visit("door_probability", self.door_probability, "share of walks through the door");
    visit("door_std", self.door_std, "spread of crossing points along the door, px");
  }
  std::vector<std::string> validate() const;
};

/// What a random number of the generator decides.
enum class EbDraw {
  layout,       ///< number of the layout; not drawn for a fixed wall
  start,        ///< two uniforms: x, then y of the start
  inside_wall,  ///< which side a start inside the wall is moved to
  between,      ///< x of such a start (left, then right), or of a point in the door
  heading,      ///< first heading
  turn,         ///< change of heading
  step,         ///< length of a step
  cross,        ///< whether the walk is made to pass the door
  door_y,       ///< where along the door
  door_step,    ///< after how many steps
  door_angle,   ///< at which angle
  flip,         ///< in which direction
  window,       ///< first position of the window
};

/// Where the generator's random numbers come from.
class FORESIGHT_API EbDraws {
 public:
  virtual ~EbDraws() = default;
  virtual double uniform(EbDraw what) = 0;                              ///< in (0, 1)
  virtual int64_t integer(EbDraw what, int64_t low, int64_t high) = 0;  ///< low..high-1
  virtual double von_mises(EbDraw what, double concentration) = 0;
  virtual double truncated_normal(EbDraw what, double mean, double std, double low,
                                  double high) = 0;
};

/// Fresh numbers: the stream is a function of seed and trajectory number.
class FORESIGHT_API EbRandomDraws final : public EbDraws {
 public:
  EbRandomDraws(std::uint64_t seed, std::uint64_t trajectory) : uniform_(seed, trajectory) {}
  double uniform(EbDraw what) override;
  int64_t integer(EbDraw what, int64_t low, int64_t high) override;
  double von_mises(EbDraw what, double concentration) override;
  double truncated_normal(EbDraw what, double mean, double std, double low, double high) override;

 private:
  UniformStream uniform_;
};

/// One walk.
struct EbTrajectory {
  EbLayout layout;
  Tensor positions;       ///< float32 [positions,2], px
  Tensor actions;         ///< float32 [positions-1,2], px: the tried displacement of each step
  int64_t first_row = 0;  ///< of the window: rows first_row .. first_row + window - 1
};

/// Throws Error(invalid_option) for invalid options.
FORESIGHT_API EbTrajectory eb_trajectory(const EbTrajectoryOptions& options, EbDraws& draws);

/// B windows of T positions.
struct EbBatch {
  Tensor pixels;     ///< bytes [B,T,2,S,S], see eb_two_rooms_picture()
  Tensor actions;    ///< float32 [B,T,2], px: action t was tried at position t
  Tensor positions;  ///< float32 [B,T,2], px
};

/// Positions in px [...,2] as eb_jepa's probe predicts them: (p - mean) / (std + 1e-6), with mean
/// and std of its data (models/eb_position_statistics.hpp).
FORESIGHT_API Tensor eb_normalise_positions(const Tensor& positions);
/// The reverse.
FORESIGHT_API Tensor eb_denormalise_positions(const Tensor& normalised);

/// Batches without end. Const access is thread-safe.
class FORESIGHT_API EbTrajectorySource {
 public:
  /// Throws Error(invalid_option) that lists every broken rule.
  EbTrajectorySource(EbTrajectoryOptions options, std::uint64_t seed);

  const EbTrajectoryOptions& options() const noexcept { return options_; }
  /// Trajectory `number` of the seed.
  EbTrajectory trajectory(int64_t number) const;
  /// The windows of trajectories first .. first + count - 1.
  EbBatch batch(int64_t first, int64_t count) const;

 private:
  EbTrajectoryOptions options_;
  std::uint64_t seed_;
};

}  // namespace foresight::envs
