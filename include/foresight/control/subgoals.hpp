// SPDX-License-Identifier: Apache-2.0
// A way to a far goal in several near ones. It watches the latent state and says when the next one
// is due; the controller is told by Mpc::set_task():
//
//   Subgoals way({first, second, last}, {.reach_distance = 0.3, .max_steps = 20});
//   mpc.set_task(kGoal, way.goal());
//   for (;;) {
//     const Observation seen = sensors();
//     if (way.update(model.encode(seen, noise))) mpc.set_task(kGoal, way.goal());
//     move(mpc.act(seen).action);
//   }
//
// Goals are latents, as WorldModel::encode() makes them of observations (pictures along the way, a
// demonstration's frames), so that a goal costs nothing when its turn comes. The controller of an
// Agent is used in the same way, with Agent::model() as the model.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/planning/terms.hpp"

namespace foresight {

/// When a problem's next sub-goal is due. At least one rule must be set.
struct FORESIGHT_API SubgoalOptions {
  double reach_distance = 0;   ///< at most this far from the current one; 0: distance is not looked
                               ///< at. In units of the distance used
  int64_t max_steps = 0;       ///< after so many updates, reached or not; 0: as long as it takes
  GoalDistance distance = {};  ///< which distance (steps do not matter)

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("reach_distance", self.reach_distance, "the next one is due this near; 0: never");
    visit("max_steps", self.max_steps, "the next one is due after so many updates; 0: never");
    visit("distance", self.distance, "which distance");
  }
  std::vector<std::string> validate() const;
};

/// Latents and goals [B,P,D] -> distances [B].
using LatentDistance = std::function<Tensor(const Tensor& latents, const Tensor& goals)>;

/// The sub-goals of B problems, each at its own place on its way. The last one stays.
class FORESIGHT_API Subgoals {
 public:
  /// `goals`: one [B,P,D] per leg of the way, in order. `distance` replaces options.distance, e.g.
  /// by a learned cost-to-go ("two steps away"). Throws Error(invalid_option), or
  /// Error(invalid_argument) without goals or with goals of different or other shapes.
  explicit Subgoals(std::vector<Tensor> goals, SubgoalOptions options = {},
                    LatentDistance distance = {});

  /// Takes in the latents [B,P,D] of one control step; true if the goal of any problem changed. One
  /// host read. A latent that is not finite counts as a step and reaches nothing. Throws
  /// Error(invalid_argument) on a wrong shape.
  bool update(const Tensor& latents);

  /// The current goals [B,P,D], on the goals' device.
  Tensor goal() const;
  int64_t count() const { return static_cast<int64_t>(goals_.size()); }
  /// Which goal a problem heads for, 0..count()-1.
  int64_t index(int64_t problem) const;
  /// The last goal was reached (by distance; without that rule: its time has passed).
  bool finished(int64_t problem) const;
  bool all_finished() const;

  /// Every problem, or some, back to its first goal.
  void reset();
  void reset(const std::vector<int64_t>& problems);

 private:
  struct Place {
    int64_t goal = 0;
    int64_t steps = 0;  // updates since it became the goal
    bool finished = false;
  };
  const Place& place(int64_t problem) const;

  std::vector<Tensor> goals_;
  SubgoalOptions options_;
  LatentDistance distance_;
  std::vector<Place> places_;
};

}  // namespace foresight
