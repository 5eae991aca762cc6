// SPDX-License-Identifier: Apache-2.0
// Planning by gradient descent on the actions through the model: SGD, Adam and AdamW, projected
// gradients for discrete actions, and an augmented Lagrangian for constraints.
#pragma once

#include <string>
#include <vector>

#include "foresight/planning/planner.hpp"
#include "foresight/planning/sampling_options.hpp"

namespace foresight {

enum class ActionOptimizer { sgd, adam, adamw };
/// Over what the gradient norm is taken when it is clipped.
enum class ClipScope {
  sample,  ///< each candidate by itself: candidates stay independent
  batch,   ///< all candidates of all problems together (stable-worldmodel)
};
/// Which start values are noisy.
enum class StartNoise {
  other_samples,  ///< candidate 0 is the warm start itself, the others are it plus noise
  missing_rows,   ///< rows that no warm start covers are noise, in every candidate (DINO-WM)
};
enum class Projection {
  none,
  box,      ///< clamp to the action limits after every step
  simplex,  ///< project each symbol distribution to the simplex (discrete actions), round at the
            ///< end
};
enum class GradientAnswer {
  best,  ///< the candidate of lowest cost after the last step
  last,  ///< candidate 0
};

template <>
struct EnumNames<ActionOptimizer> {
  static constexpr std::array<std::pair<std::string_view, ActionOptimizer>, 3> names{
      {{"sgd", ActionOptimizer::sgd},
       {"adam", ActionOptimizer::adam},
       {"adamw", ActionOptimizer::adamw}}};
};
template <>
struct EnumNames<ClipScope> {
  static constexpr std::array<std::pair<std::string_view, ClipScope>, 2> names{
      {{"sample", ClipScope::sample}, {"batch", ClipScope::batch}}};
};
template <>
struct EnumNames<StartNoise> {
  static constexpr std::array<std::pair<std::string_view, StartNoise>, 2> names{
      {{"other_samples", StartNoise::other_samples}, {"missing_rows", StartNoise::missing_rows}}};
};
template <>
struct EnumNames<Projection> {
  static constexpr std::array<std::pair<std::string_view, Projection>, 3> names{
      {{"none", Projection::none}, {"box", Projection::box}, {"simplex", Projection::simplex}}};
};
template <>
struct EnumNames<GradientAnswer> {
  static constexpr std::array<std::pair<std::string_view, GradientAnswer>, 2> names{
      {{"best", GradientAnswer::best}, {"last", GradientAnswer::last}}};
};

/// Defaults: stable-worldmodel's configuration for LeWM (AdamW, 100 candidates, 30 steps), clamped
/// to the limits.
struct FORESIGHT_API GradientOptions {
  int64_t samples = 100;
  int64_t iterations = 30;
  ActionOptimizer optimizer = ActionOptimizer::adamw;
  double learning_rate = 0.1;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double epsilon = 1e-8;
  double weight_decay = 0.01;
  double initial_std = 1.0;
  StartNoise start_noise = StartNoise::other_samples;
  double step_noise = 0.0;
  NoiseSharing noise_sharing = NoiseSharing::shared;
  double clip_norm = 0.0;
  ClipScope clip_scope = ClipScope::sample;
  Projection projection = Projection::box;
  GradientAnswer returned = GradientAnswer::best;
  Tail tail = Tail::prior;
  int64_t max_candidates = 0;
  PlannerRecord record = PlannerRecord::summary;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("samples", self.samples, "candidates, optimised independently");
    visit("iterations", self.iterations, "gradient steps");
    visit("optimizer", self.optimizer, "sgd, adam or adamw");
    visit("learning_rate", self.learning_rate, "step size, normalised action units");
    visit("beta1", self.beta1, "Adam: decay of the first moment");
    visit("beta2", self.beta2, "Adam: decay of the second moment");
    visit("epsilon", self.epsilon, "Adam: added to the root");
    visit("weight_decay", self.weight_decay, "adamw: decay of the actions themselves");
    visit("initial_std", self.initial_std, "std of the start noise");
    visit("start_noise", self.start_noise, "which start values are noisy");
    visit("step_noise", self.step_noise, "std of noise added after each step; 0: none");
    visit("noise_sharing", self.noise_sharing, "the same draws for all problems or own ones");
    visit("clip_norm", self.clip_norm, "largest gradient norm; 0: no clipping");
    visit("clip_scope", self.clip_scope, "over what the norm is taken");
    visit("projection", self.projection, "applied after every step");
    visit("returned", self.returned, "which candidate is the answer");
    visit("tail", self.tail, "rule for missing warm-start rows");
    visit("max_candidates", self.max_candidates, "candidates per cost call; 0: all at once");
    visit("record", self.record, "keep a summary or everything of each iteration");
  }
  std::vector<std::string> validate() const;
};

/// Draw order: start noise, then one draw per step where step_noise > 0. The cost function must be
/// differentiable in the actions. After the last step all candidates are evaluated once more; the
/// record's last entry is that evaluation.
class FORESIGHT_API GradientPlanner final : public Planner {
 public:
  explicit GradientPlanner(GradientOptions options = {});
  Plan solve(const Problem& problem, Noise& noise) const override;
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override;
  const GradientOptions& options() const noexcept { return options_; }

 private:
  GradientOptions options_;
};

/// What the Lagrangian planner answers with.
enum class LagrangianAnswer {
  feasible,  ///< the cheapest feasible candidate, or the one that breaks the constraints least
  cheapest,  ///< the cheapest candidate, feasible or not (stable-worldmodel)
};
template <>
struct EnumNames<LagrangianAnswer> {
  static constexpr std::array<std::pair<std::string_view, LagrangianAnswer>, 2> names{
      {{"feasible", LagrangianAnswer::feasible}, {"cheapest", LagrangianAnswer::cheapest}}};
};

/// Augmented Lagrangian: minimises c + lambda' g + rho |relu(g)|^2 by gradient steps, then lambda
/// <- max(0, lambda + rho mean_S g) and rho <- min(rho_max, rho_scale rho), outer_iterations times;
/// the optimizer starts afresh each time.
struct FORESIGHT_API LagrangianOptions {
  GradientOptions inner = {.optimizer = ActionOptimizer::adam, .learning_rate = 1.0};
  int64_t outer_iterations = 5;
  double rho = 1.0;
  double rho_scale = 2.0;
  double rho_max = 1e4;
  bool keep_multipliers = true;
  LagrangianAnswer returned = LagrangianAnswer::feasible;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("inner", self.inner, "gradient steps between multiplier updates");
    visit("outer_iterations", self.outer_iterations, "multiplier updates");
    visit("rho", self.rho, "first penalty weight");
    visit("rho_scale", self.rho_scale, "growth of the penalty weight per update");
    visit("rho_max", self.rho_max, "largest penalty weight");
    visit("keep_multipliers", self.keep_multipliers,
          "multipliers enter the next solve by its warm start");
    visit("returned", self.returned, "which candidate is the answer");
  }
  std::vector<std::string> validate() const;
};

/// Works on Costs::constraint; without one it is a GradientPlanner with restarts. Multipliers
/// travel in WarmStart::memory as "multipliers" [B,C].
class FORESIGHT_API LagrangianPlanner final : public Planner {
 public:
  explicit LagrangianPlanner(LagrangianOptions options = {});
  Plan solve(const Problem& problem, Noise& noise) const override;
  WarmStart advance(const WarmStart& last, const std::vector<int64_t>& raw_steps,
                    int64_t block) const override;

 private:
  LagrangianOptions options_;
};

/// Projected gradient on one-hot relaxations (stable-worldmodel's PGD): SGD with learning rate 1.
FORESIGHT_API GradientOptions pgd();

/// Euclidean projection of the last axis to the probability simplex (Duchi et al., ICML 2008).
FORESIGHT_API Tensor project_to_simplex(const Tensor& values);

}  // namespace foresight
