// SPDX-License-Identifier: Apache-2.0
// The usual cost terms. Each is a small option struct and a function that makes a CostTerm from it.
#pragma once

#include <memory>

#include "foresight/core/options.hpp"
#include "foresight/planning/objective.hpp"

namespace foresight {

enum class Distance {
  l1,      ///< |x - g|
  l2,      ///< (x - g)^2: squared, as all published latent planners use it
  cosine,  ///< 1 - cos(x, g) over the channels of each token
};
/// Which imagined steps count.
enum class Steps {
  last,        ///< the end of the horizon
  sum,         ///< every step equally
  discounted,  ///< step h with discount^h; discount > 1 stresses the end (DINO-WM's "all": 2)
};
/// Over tokens and channels.
enum class Reduction { sum, mean };

template <>
struct EnumNames<Distance> {
  static constexpr std::array<std::pair<std::string_view, Distance>, 3> names{
      {{"l1", Distance::l1}, {"l2", Distance::l2}, {"cosine", Distance::cosine}}};
};
template <>
struct EnumNames<Steps> {
  static constexpr std::array<std::pair<std::string_view, Steps>, 3> names{
      {{"last", Steps::last}, {"sum", Steps::sum}, {"discounted", Steps::discounted}}};
};
template <>
struct EnumNames<Reduction> {
  static constexpr std::array<std::pair<std::string_view, Reduction>, 2> names{
      {{"sum", Reduction::sum}, {"mean", Reduction::mean}}};
};

/// Distance of the imagined latent to the goal; the defaults are LeWM's: squared, summed over the
/// latent, last step.
struct FORESIGHT_API GoalDistance {
  Distance distance = Distance::l2;
  Steps steps = Steps::last;
  Reduction reduction = Reduction::sum;
  double discount = 1.0;
  bool normalise_steps = false;
  std::string field = "latent";
  std::string goal = std::string(kGoal);

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("distance", self.distance, "per element: l1, squared l2, or cosine per token");
    visit("steps", self.steps, "which imagined steps count");
    visit("reduction", self.reduction, "over tokens and channels (cosine: tokens)");
    visit("discount", self.discount, "weight of step h is discount^h when discounted");
    visit("normalise_steps", self.normalise_steps, "divide step weights by their sum");
    visit("field", self.field, "imagined state field");
    visit("goal", self.goal, "task field with the goal, [B,P,D]");
  }
  std::vector<std::string> validate() const;
};
FORESIGHT_API CostTerm goal_distance(GoalDistance options = {});

/// Sum of squared normalised actions over the horizon.
FORESIGHT_API CostTerm control_effort();

/// Sum of squared differences between consecutive raw actions (normalised units), `block` raw
/// actions a block. The first is compared with the task's "previous_action" [B,dim] where there is
/// one.
FORESIGHT_API CostTerm action_rate(int64_t block);

/// Minus the discounted return: -sum_h gamma^h * (product of the model's discounts before h) *
/// reward_h.
FORESIGHT_API CostTerm negative_return(double gamma = 1.0);

/// Minus gamma^H * (product of discounts) * value of the last imagined state.
FORESIGHT_API CostTerm terminal_value(std::shared_ptr<const Critic> critic, double gamma = 1.0);

/// A learned cost of whole imagined latents: the function maps [B,S,H,P*D] -> [B,S].
FORESIGHT_API CostTerm latent_cost(std::function<Tensor(const Tensor& latents)> cost,
                                   std::string field = "latent");

/// Positions [B,S,H,N] of what must keep clear, from a trajectory (a probe, or a field of an
/// analytic model).
using PositionOf = std::function<Tensor(const Trajectory& trajectory)>;

/// How deep each step enters spheres around `centres` (one row of N coordinates each): as a cost,
/// the sum over steps and spheres of relu(radius - distance)^2; as a constraint, the largest radius
/// - distance.
struct FORESIGHT_API KeepOut {
  std::vector<std::vector<double>> centres = {};
  double radius = 1.0;
  std::vector<std::string> validate() const;
};
FORESIGHT_API CostTerm keep_out(KeepOut zone, PositionOf position);
FORESIGHT_API CostTerm keep_out_constraint(KeepOut zone, PositionOf position);

}  // namespace foresight
