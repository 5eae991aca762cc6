// SPDX-License-Identifier: Apache-2.0
// Learned dynamics of a measured state: an ensemble of probabilistic MLPs that predict how the
// state changes, as in PETS (Chua et al., arXiv 1805.12114). All members are one stack of batched
// matrix products. Make it a world model with Ensemble:
//
//   auto dynamics = std::make_shared<MlpDynamics>(options);
//   ... train with loss() ...
//   auto model = std::make_shared<Ensemble>(dynamics, EnsembleOptions{.particles_per_member = 4});
#pragma once

#include <torch/nn/module.h>

#include <memory>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/models/ensemble.hpp"
#include "foresight/nn/stacked_mlp.hpp"

namespace foresight::models {

/// What a network says about the next state.
enum class DynamicsOutput {
  gaussian,  ///< mean and variance of each element
  point,     ///< the next state alone; the loss is the squared error
};
/// What a step of the world model takes from it.
enum class DynamicsStep {
  sample,  ///< a draw: noise of the world is imagined, too
  mean,    ///< deterministic
};

struct FORESIGHT_API MlpDynamicsOptions {
  int64_t state = 1;                  ///< D, width of the state
  std::string observation = "state";  ///< observation field [B,D] that is the state
  ActionSpace action;
  int64_t members = 5;  ///< K; PETS: 5
  nn::MlpOptions mlp = {.hidden = {200, 200, 200}};
  DynamicsOutput output = DynamicsOutput::gaussian;
  DynamicsStep step = DynamicsStep::sample;
  double min_log_variance = -10.0;  ///< initial lower bound, in units of the change's deviation
  double max_log_variance = 0.5;    ///< initial upper bound
  double bound_weight = 0.01;       ///< loss weight that pulls the two bounds together

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("state", self.state, "width of the state");
    visit("observation", self.observation, "observation field that is the state");
    visit("action", self.action, "dimensions, limits and statistics of actions");
    visit("members", self.members, "networks in the ensemble");
    visit("mlp", self.mlp, "each network: widths and activation");
    visit("output", self.output, "gaussian or point");
    visit("step", self.step, "sample or mean");
    visit("min_log_variance", self.min_log_variance, "initial lower bound of the log-variance");
    visit("max_log_variance", self.max_log_variance, "initial upper bound of the log-variance");
    visit("bound_weight", self.bound_weight, "loss weight that pulls the bounds together");
  }
  std::vector<std::string> validate() const;
};

/// Recorded transitions: row i went from states[i] by actions[i] to next[i].
struct FORESIGHT_API Transitions {
  Tensor states;   ///< [N,D]
  Tensor actions;  ///< [N,A] normalised blocks
  Tensor next;     ///< [N,D]
  int64_t size() const { return states.defined() ? states.size(0) : 0; }
};

/// Rows [K,N] of 0..N-1 drawn with replacement, a bootstrap sample per member: what makes members
/// disagree where data are scarce.
FORESIGHT_API Tensor bootstrap_rows(int64_t rows, int64_t members, PhiloxNoise& noise);

/// State field of members: "latent" [K,N,1,D]. Networks read (state, action) scaled by the training
/// data's mean and deviation, and predict the change of the state in units of its deviation.
///
/// State-dict keys: mlp.layers.{i}.*, min_log_variance and max_log_variance [K,1,D] (learned, for
/// gaussian output), input_mean, input_std [D+A], change_mean, change_std [D].
class FORESIGHT_API MlpDynamics : public EnsembleMembers, public torch::nn::Module {
 public:
  /// Throws Error(invalid_option).
  explicit MlpDynamics(const MlpDynamicsOptions& options, std::uint64_t seed = 0);

  /// Sets the scales from data; an element that never varies keeps scale 1. Call it once, before
  /// training. Throws Error(invalid_argument) for misshapen or fewer than two rows, non_finite.
  void fit_scales(const Transitions& data);

  /// Change of the state in units of its deviation; log_variance [K,N,D] is undefined for point
  /// output and softly bounded otherwise (PETS, appendix A.1).
  struct Change {
    Tensor mean, log_variance;
  };
  /// States [K,N,D] and actions [K,N,A].
  Change predict(const Tensor& states, const Tensor& actions) const;
  /// A scaled change applied to states: [K,N,D].
  Tensor apply(const Tensor& states, const Tensor& scaled_change) const;

  /// Loss of a batch: states [K,n,D], actions [K,n,A], next [K,n,D], one row set per member. Terms:
  /// "nll" (gaussian: mean of (squared error / variance + log variance) over n and D, summed over
  /// members, so that each trains as it would alone) and "bounds"; or "mse".
  losses::Terms loss(const Tensor& states, const Tensor& actions, const Tensor& next) const;
  /// The same for rows [K,n] of recorded transitions.
  losses::Terms loss(const Transitions& data, const Tensor& rows) const;
  /// Mean squared error of each member on all of `data`, scaled, [K]: to watch training.
  Tensor error(const Transitions& data) const;

  const MlpDynamicsOptions& options() const noexcept { return options_; }

  int64_t count() const override { return options_.members; }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override;
  State observe(const State& previous, const Tensor& last_action, const Observation& observation,
                Noise& noise) const override;
  Transition step(const State& state, const Tensor& action, Noise& noise) const override;

 private:
  Tensor scaled_change(const Tensor& states, const Tensor& next) const;

  MlpDynamicsOptions options_;
  ModelSpec spec_;
  std::shared_ptr<nn::StackedMlp> mlp_;
  Tensor min_log_variance_, max_log_variance_;
  Tensor input_mean_, input_std_, change_mean_, change_std_;
};

}  // namespace foresight::models

template <>
struct foresight::EnumNames<foresight::models::DynamicsOutput> {
  using E = foresight::models::DynamicsOutput;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"gaussian", E::gaussian}, {"point", E::point}}};
};
template <>
struct foresight::EnumNames<foresight::models::DynamicsStep> {
  using E = foresight::models::DynamicsStep;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"sample", E::sample}, {"mean", E::mean}}};
};
