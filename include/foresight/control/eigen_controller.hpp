// SPDX-License-Identifier: Apache-2.0
// A model-predictive controller for one robot whose program speaks Eigen: vectors in, a vector out,
// no torch in sight. It is an Mpc (control/mpc.hpp) with its guarantees, made from a trained bundle
// or from dynamics written as a C++ functor (planning/functor.hpp).
//
//   foresight::EigenController controller(Arm{}, {.low = {-5, -5}, .high = {5, 5}});
//   controller.set_goal(target);
//   controller.warm_up();
//   while (running) send(controller.act(state()).action);
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "foresight/core/export.hpp"
#include "foresight/core/options.hpp"
#include "foresight/core/status.hpp"
#include "foresight/planning/functor.hpp"

namespace foresight {

/// An RGB image: one matrix row an image row, red, green, blue of its pixels side by side.
using EigenImage = Eigen::Matrix<std::uint8_t, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
/// Vectors and images as they are passed: also fixed sizes, segments, blocks and maps, uncopied.
using EigenVectorIn = Eigen::Ref<const Eigen::VectorXd>;
using EigenImageIn = Eigen::Ref<const EigenImage, 0, Eigen::OuterStride<>>;

/// The answer to one observation. The views are valid until the controller is used again.
struct EigenDecision {
  Eigen::VectorXd action;  ///< raw units, always finite and within the limits; discrete: one symbol
  Status status = Status::not_started;
  std::string_view message = "act() was not called";
  std::string_view source = "safe_action";  ///< name of an ActionSource: where the action came from
  std::string_view fault = "none";          ///< name of a Fault: why not from a better one
  bool replanned = false;                   ///< a plan was made in this call
  double observe_seconds = 0;               ///< in the model's perception
  double plan_seconds = 0;                  ///< in the planner
  double total_seconds = 0;                 ///< act() from entry to return, conversions included
};

/// How a functor is controlled. Limits and steps are in raw units, one value per action.
struct FORESIGHT_API EigenControllerOptions {
  std::vector<double> low = {};          ///< unbounded
  std::vector<double> high = {};         ///< unbounded
  std::vector<double> max_step = {};     ///< unlimited
  std::vector<double> safe_action = {};  ///< zeros: for most actuators, to do nothing
  std::int64_t block = 1;                ///< every imagined step has an action of its own
  std::int64_t horizon = 20;             ///< 0.4 s at 50 Hz
  std::int64_t replan_steps = 1;         ///< functors are fast enough to plan at every step
  double deadline_ms = 0;                ///< none: only the user knows the period of the loop
  std::string planner = "icem";  ///< smooth, and it remembers: the best of the presets on functors
  std::int64_t threads = 1;      ///< a robot's other cores have work of their own
  std::int64_t seed = 0;         ///< any value does; a fixed one makes runs repeat
  std::string settings = {};     ///< nothing beyond the above

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("low", self.low, "lower limits of the action; empty: unbounded");
    visit("high", self.high, "upper limits of the action; empty: unbounded");
    visit("max_step", self.max_step,
          "largest change of the action per control step; empty: unlimited");
    visit("safe_action", self.safe_action, "action of last resort; empty: zeros within the limits");
    visit("block", self.block, "control steps per planned action block");
    visit("horizon", self.horizon, "action blocks per plan");
    visit("replan_steps", self.replan_steps, "control steps between plans");
    visit("deadline_ms", self.deadline_ms, "time for one act(), milliseconds; 0: none");
    visit("planner", self.planner, "preset of planning/presets.hpp");
    visit("threads", self.threads, "threads that imagine; 0: LibTorch's number");
    visit("seed", self.seed, "of the planner's noise");
    visit("settings", self.settings,
          "further options as JSON: {\"sampling\": SamplingOptions, \"control\": MpcOptions}");
  }
  std::vector<std::string> validate() const;
};

/// Controls one robot. Not thread-safe; movable.
///
/// An action search happens in normalised units: with limits, the standard deviation 1 of the
/// presets is a quarter of an action's range around its middle.
///
/// Its own layer copies numbers into and out of memory made at construction and allocates nothing
/// after the first act(); planning beneath it does.
class FORESIGHT_API EigenController {
 public:
  /// The planner and objective that the bundle holds, changed by `settings` (JSON: {"sampling":
  /// SamplingOptions, "objective": ObjectiveOptions, "control": MpcOptions}, each with the fields
  /// to change). Throws Error on a bad bundle or setting.
  static EigenController load(const std::filesystem::path& bundle,
                              const std::string& settings = "{}");

  /// Throws Error(invalid_option) on options that do not fit the dynamics.
  EigenController(std::shared_ptr<const FunctorDynamics> dynamics, EigenControllerOptions options);
  template <ArrayModel Model>
  EigenController(Model model, EigenControllerOptions options)
      : EigenController(make_functor(std::move(model)), std::move(options)) {}

  ~EigenController();
  EigenController(EigenController&&) noexcept;
  EigenController& operator=(EigenController&&) noexcept;

  /// Length of action vectors; 1 for discrete actions.
  std::int64_t action_size() const noexcept;
  /// Names of what the model observes, in order.
  std::vector<std::string> fields() const;
  /// Numbers in one field. Throws Error(not_found) on an unknown name.
  std::int64_t field_size(std::string_view field) const;

  /// What to reach, from the next act() on. A functor with parameters takes them as its goal; a
  /// trained model with one field takes an observation of the goal. Throws Error on anything that
  /// does not fit, and on NaN or infinity.
  void set_goal(const EigenVectorIn& goal);
  void set_goal(const EigenImageIn& goal);
  /// For models with several fields: what was written by observe() becomes the goal. Throws Error
  /// if a field was not written.
  void set_observed_goal();

  /// Writes one field of the next observation. A field that is not written again keeps its numbers.
  /// What does not fit, or a field that was never written since the start or reset(), makes the
  /// next act() answer with Status::invalid_input and name it, rather than throw.
  void observe(std::string_view field, const EigenVectorIn& values) noexcept;
  void observe(std::string_view field, const EigenImageIn& image) noexcept;

  /// Decides on what was observed. Never throws.
  const EigenDecision& act() noexcept;
  /// Observes the model's first field and decides.
  const EigenDecision& act(const EigenVectorIn& state) noexcept;
  const EigenDecision& act(const EigenImageIn& image) noexcept;
  /// The answer of the last act().
  const EigenDecision& decision() const noexcept;

  /// Tells the next act() which action was really applied since the last one, where that is not the
  /// one decided (a supervisor intervened). Throws Error(invalid_argument) on another length.
  void applied(const EigenVectorIn& action);

  /// Plans a few times on what was observed (zeros if nothing was), so that the first real act() is
  /// as fast as the later ones; then starts afresh.
  const EigenDecision& warm_up();

  /// New episode: history, plans and what was observed are dropped, the goal stays.
  void reset();

 private:
  struct Body;
  explicit EigenController(std::unique_ptr<Body> body);
  std::unique_ptr<Body> body_;
};

}  // namespace foresight
