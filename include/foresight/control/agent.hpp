// SPDX-License-Identifier: Apache-2.0
// From a bundle to a controller in two lines: the model, its cost-to-go, the planner settings that
// belong to them, and what the model's errors were while it was right.
//
//   const auto agent = Agent::load("run/bundle");
//   auto mpc = agent.controller();
//   mpc.watch(agent.monitor());
//   mpc.set_goal(goal);
//   auto decision = mpc.act(observation);
#pragma once

#include <filesystem>
#include <memory>
#include <mutex>
#include <optional>

#include "foresight/control/mpc.hpp"
#include "foresight/control/safety_monitor.hpp"
#include "foresight/io/bundle.hpp"
#include "foresight/models/world_models.hpp"
#include "foresight/planning/sampling_options.hpp"
#include "foresight/planning/terms.hpp"

namespace foresight::models {
class ValueCritic;
}

namespace foresight {

/// What an imagined future costs, as weights of named terms; a weight of 0 leaves the term out.
struct FORESIGHT_API ObjectiveOptions {
  double cost_to_go = 0.0;              ///< learned steps to the goal; needs a bundle with a critic
  Steps cost_to_go_steps = Steps::sum;  ///< summed: a plan that gets close early is better
  double goal_distance = 1.0;           ///< distance to the goal's latent
  GoalDistance distance;                ///< which distance
  /// The same distance of imagined proprioception to the goal's, DINO-WM's alpha; needs a model
  /// that imagines it, and goals that have it.
  double proprio_distance = 0.0;
  double control_effort = 0.0;          ///< squared normalised actions
  double action_rate = 0.0;             ///< squared changes of raw actions

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("cost_to_go", self.cost_to_go, "weight: learned steps to the goal");
    visit("cost_to_go_steps", self.cost_to_go_steps, "imagined steps that count: last or sum");
    visit("goal_distance", self.goal_distance, "weight: distance to the goal's latent");
    visit("distance", self.distance, "which distance");
    visit("proprio_distance", self.proprio_distance,
          "weight: the same distance of imagined proprioception to the goal's");
    visit("control_effort", self.control_effort, "weight: squared normalised actions");
    visit("action_rate", self.action_rate, "weight: squared changes of raw actions");
  }
  std::vector<std::string> validate() const;
};

/// Everything that planning with a bundle needs besides its weights; kept in the bundle's
/// config.json as `planner`.
struct FORESIGHT_API AgentOptions {
  SamplingOptions sampling;
  ObjectiveOptions objective;
  MpcOptions control;
  /// On a GPU: rollouts are recorded once and replayed (models::GraphedModel). On, because it
  /// changes no number, and launching a rollout's kernels one by one takes longer than they run.
  /// Counts for the first controller, objective or monitor made while none is left.
  bool cuda_graphs = true;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("sampling", self.sampling, "the sampling planner");
    visit("objective", self.objective, "weights of the cost terms");
    visit("control", self.control, "the control loop");
    visit("cuda_graphs", self.cuda_graphs, "on a GPU: rollouts are recorded once and replayed");
  }
  std::vector<std::string> validate() const;

  /// LeWM's planner: CEM 300 / 30 / 30 on the distance of the last imagined latent, five blocks,
  /// all executed.
  static AgentOptions lewm();
  /// For a small model with a cost-to-go on a CPU: 128 candidates, 4 iterations, three blocks
  /// ahead, replanned after every block. The cost-to-go sees beyond the horizon, so that few and
  /// short candidates are enough.
  static AgentOptions cost_to_go();
  /// EB-JEPA's: MPPI 200 / 20 / 20 on the distance of all imagined latents, 90 steps ahead,
  /// from scratch at every step.
  static AgentOptions eb_jepa();
  /// DINO-WM's: CEM 300 / 30 / 30 on the mean squared difference of the last imagined patches, five
  /// blocks, all executed. With `proprio`, for models that imagine it, the same distance of
  /// proprioception is added with weight 1, upstream's alpha (0 for its maze). Candidates, tens of
  /// megabytes each, are imagined in slices of 1 GiB.
  static AgentOptions dino_wm(bool proprio = false);
  /// V-JEPA 2-AC's: CEM 400 / 10 / 10 within the action limits on the mean absolute difference of
  /// the last imagined tokens, rotation left alone, two steps ahead, from scratch at every step.
  /// Slices as dino_wm().
  static AgentOptions vjepa2_ac();
};

/// A trained model with its heads and planner settings. Cheap to copy: copies, and the controllers
/// and monitors made from them, share the model and its heads.
class FORESIGHT_API Agent {
 public:
  /// Reads a bundle of any family that models::read_world_model() knows; planner settings are those
  /// it holds, else AgentOptions::lewm(). With io::Placement::share the weights of a DINO-WM or
  /// V-JEPA 2-AC stay in the bundle's mapped file, which then must not be overwritten in place: for
  /// those that move to a GPU, and for runs that need no even pace (docs/checkpoints.md). All
  /// tensors are compared with the bundle's checksum first, unless `checksum` = skip. Throws Error
  /// as io::read_bundle() and the family's reader do, and for planner settings or a calibration
  /// that it does not know.
  static Agent load(const std::filesystem::path& bundle,
                    io::Placement placement = io::Placement::copy,
                    io::ChecksumRule checksum = io::ChecksumRule::compare);

  /// Moves the weights (models::move_to()), observations may stay on the CPU. Of all copies; throws
  /// Error(invalid_argument) where they move while a controller, monitor or learned objective made
  /// from one of them is left, which would find its weights elsewhere.
  void to(const at::Device& device);

  /// Infers in another precision from now on; see models::in_precision(). A critic in bfloat16 with
  /// the model, else in float32. float32 and bfloat16 convert the weights that copies share, and
  /// throw as to() does where they change; fixed16 copies model and critic
  /// and leaves them; bfloat16_rechecked is float32 and adds a copy of the model, with which
  /// objectives made from here on imagine (Objective::set_quick_model()).
  void compute_in(models::InferencePrecision precision);

  const WorldModel& model() const noexcept { return *loaded_.model; }
  /// The model as controllers plan with it: with `options.cuda_graphs` on a GPU, its rollouts are
  /// recorded. While it is held, to() and compute_in() refuse to change its weights.
  std::shared_ptr<const WorldModel> planning_model() const;
  /// The same model as what holds its weights.
  const torch::nn::Module& module() const noexcept { return *loaded_.module; }
  /// Null if the bundle has none.
  const models::ValueCritic* critic() const noexcept { return critic_.get(); }
  /// How surprising normal transitions are; nothing if the bundle does not say.
  const std::optional<SurpriseCalibration>& calibration() const noexcept { return calibration_; }
  /// The bundle's config.json.
  const io::BundleConfig& config() const noexcept { return config_; }

  /// Settings that apply where none are given; change them freely.
  AgentOptions options;

  /// The objective that `options` describe. Throws Error(invalid_option), Error(unsupported) for a
  /// cost-to-go without a critic and for proprioception that the model does not imagine, and in
  /// bfloat16_rechecked for planners that recheck_for() refuses.
  Objective objective() const;
  /// A controller for `options.control.batch` problems.
  Mpc controller() const;
  /// A monitor for one such controller. Throws Error(unsupported) for a bundle without a
  /// calibration, otherwise as SafetyMonitor does.
  std::shared_ptr<SafetyMonitor> monitor(const SafetyMonitorOptions& settings = {}) const;

 private:
  // What was made from this agent and its copies holds the model through one pointer, so that it is
  // known whether any of it is left.
  struct Lent {
    std::mutex mutex;
    std::weak_ptr<const WorldModel> model, quick;
  };
  std::shared_ptr<const WorldModel> lend(const models::LoadedWorldModel& loaded,
                                         std::weak_ptr<const WorldModel> Lent::* place) const;
  void require_nothing_lent(const char* change) const;

  models::LoadedWorldModel loaded_;
  models::LoadedWorldModel quick_;  // imagines in bfloat16 for loaded_; null: none
  std::shared_ptr<models::ValueCritic> critic_;
  std::shared_ptr<Lent> lent_ = std::make_shared<Lent>();
  std::optional<SurpriseCalibration> calibration_;
  io::BundleConfig config_;
};

}  // namespace foresight
