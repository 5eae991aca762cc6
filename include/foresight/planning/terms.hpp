// SPDX-License-Identifier: Apache-2.0
// The usual cost terms. Each is a small option struct and a function that makes a CostTerm from it.
// (Regions to stay in or out of: planning/regions.hpp.)
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

/// One of several named latents that a goal is made of.
struct GoalPart {
  GoalDistance distance = {};  ///< names the field and the task's goal for it
  double weight = 1.0;         ///< >= 0
};
/// Weighted sum of distances, e.g. DINO-WM's L2 of patches + alpha * L2 of proprioception:
///   goal_distances({{{.reduction = Reduction::mean}},
///                   {{.reduction = Reduction::mean, .field = "proprio", .goal = "goal_proprio"},
///                    alpha}})
/// Throws Error(invalid_option) for an empty list or a bad part.
FORESIGHT_API CostTerm goal_distances(std::vector<GoalPart> parts);

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

/// How costs of single steps become one of the whole future.
struct FORESIGHT_API StepWeights {
  Steps steps = Steps::sum;
  double discount = 1.0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("steps", self.steps, "which imagined steps count");
    visit("discount", self.discount, "weight of step h is discount^h when discounted");
  }
  std::vector<std::string> validate() const;
};

/// A hard-wired cost of being in a state, whatever the goal (discomfort, energy, danger; the
/// intrinsic cost of LeCun 2022): states of batch shape [N...] -> [N...].
using StateCost = std::function<Tensor(const State& states)>;
FORESIGHT_API CostTerm intrinsic_cost(StateCost cost, StepWeights weights = {});

/// A learned cost-to-go (the trainable critic): flat latents [B,S,h,P*D] and goals [B,1,1,P*D] ->
/// [B,S,h], e.g. [critic](auto& z, auto& goal) { return critic->forward(z, goal); } of a
/// models::ValueCritic.
using GoalCritic = std::function<Tensor(const Tensor& latents, const Tensor& goals)>;
/// The critic's estimates from each imagined latent to the task's goal. Summed over the horizon, a
/// plan that gets close early is better. Only the steps that count are evaluated.
FORESIGHT_API CostTerm cost_to_go(GoalCritic critic, StepWeights weights = {},
                                  std::string field = "latent");

/// How far the particles of a candidate disagree about a field: variance over the particles
/// (divided by their number), averaged over the field. Of an ensemble that propagates means with
/// one particle per member it is the epistemic part alone; sampled noise adds to it. Add with
/// TermView::all_particles. Throws Error(unsupported) from a model without particles.
FORESIGHT_API CostTerm disagreement(StepWeights weights = {}, std::string field = "latent");

}  // namespace foresight
