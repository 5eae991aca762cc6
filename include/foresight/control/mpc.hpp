// SPDX-License-Identifier: Apache-2.0
// The control loop's front end: observation in, one safe raw action out, in bounded time.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/control/receding_horizon.hpp"
#include "foresight/core/world_model.hpp"
#include "foresight/planning/objective.hpp"
#include "foresight/planning/planner.hpp"

namespace foresight {

/// How the model sees the past.
enum class HistoryMode {
  incremental,  ///< WorldModel::observe() once per block and carried on: right for every model
  window,  ///< the last few observations are replayed at replanning time: cheaper for window models
           ///< that replan seldom, wrong for recurrent ones
};
/// Where an action came from, from best to last resort.
enum class ActionSource { plan, previous_plan, safe_action };

template <>
struct EnumNames<HistoryMode> {
  static constexpr std::array<std::pair<std::string_view, HistoryMode>, 2> names{
      {{"incremental", HistoryMode::incremental}, {"window", HistoryMode::window}}};
};
template <>
struct EnumNames<ActionSource> {
  static constexpr std::array<std::pair<std::string_view, ActionSource>, 3> names{
      {{"plan", ActionSource::plan},
       {"previous_plan", ActionSource::previous_plan},
       {"safe_action", ActionSource::safe_action}}};
};

struct FORESIGHT_API MpcOptions {
  int64_t batch = 1;
  int64_t horizon = 5;
  int64_t replan_steps = 0;
  HistoryMode history_mode = HistoryMode::incremental;
  int64_t history = 0;
  bool warm_start = true;
  double deadline_ms = 0;
  int64_t retries = 1;
  std::vector<double> safe_action = {};
  std::vector<double> max_step = {};
  int64_t candidate_bytes = 0;
  int64_t seed = 0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch", self.batch, "problems controlled at once");
    visit("horizon", self.horizon, "action blocks per plan");
    visit("replan_steps", self.replan_steps,
          "raw actions executed before the next plan; need not be whole blocks; 0: the whole plan");
    visit("history_mode", self.history_mode, "how the model sees the past");
    visit("history", self.history, "observations in window mode; 0: what the model can use");
    visit("warm_start", self.warm_start, "start from the unexecuted rest of the last plan");
    visit("deadline_ms", self.deadline_ms, "time for one act(), milliseconds; 0: none");
    visit("retries", self.retries,
          "further solves without warm start when one fails and time is left");
    visit("safe_action", self.safe_action,
          "raw action of last resort, one value per dimension (discrete: one symbol); empty: zeros "
          "within the limits");
    visit("max_step", self.max_step,
          "largest change of a raw action per control step and dimension; empty: unlimited");
    visit("candidate_bytes", self.candidate_bytes,
          "bytes that imagined candidates may take at once; 0: unlimited");
    visit("seed", self.seed, "of the planner's noise");
  }
  std::vector<std::string> validate() const;
};

/// One solve inside act().
struct SolvedGroup {
  std::vector<int64_t> rows;  ///< problems that it covered
  Plan plan;
};

/// The answer to one observation.
struct Decision {
  Status status = Status::not_started;  ///< the worst of `statuses`
  std::string message = "act() was not called";
  std::vector<Status> statuses;       ///< one per problem
  std::vector<ActionSource> sources;  ///< one per problem
  Tensor action;  ///< [B,dim] raw, CPU float, always finite and within the limits; discrete: int64
                  ///< [B,1]
  std::vector<SolvedGroup> solved;  ///< what was planned in this call; usually empty or one group
  double observe_seconds = 0;       ///< in the model's observe()
  double plan_seconds = 0;          ///< in the planner
  double total_seconds = 0;         ///< act() from entry to return

  bool replanned() const { return !solved.empty(); }
};

/// Receding-horizon control of B problems. The ladder per problem: plan; again without warm start
/// while time lasts; the rest of the previous plan; the safe action.
///
/// Two problems with different numbers of observed steps are planned in separate solves, so that no
/// model is shown a history that did not happen (except in window mode, which pads like
/// stable-worldmodel).
class FORESIGHT_API Mpc {
 public:
  /// Throws Error on options that do not fit the model.
  Mpc(std::shared_ptr<const WorldModel> model, Objective objective,
      std::shared_ptr<const Planner> planner, MpcOptions options);
  ~Mpc();
  Mpc(Mpc&&) noexcept;
  Mpc& operator=(Mpc&&) noexcept;

  /// Sets what to reach: the observation is encoded once and becomes the task field "goal". The
  /// next act() replans. Throws Error on a malformed observation; the old goal then stays.
  void set_goal(const Observation& goal);
  /// The same for some problems: goal of batch rows.size().
  void set_goal(const Observation& goal, const std::vector<int64_t>& rows);
  /// Adds or replaces a task field [B,...] for terms of one's own. The next act() replans.
  void set_task(std::string_view field, const Tensor& value);

  /// Acts on an example observation through 1 + `repetitions` plans, so that every shape is met and
  /// allocated, then resets and rewinds the noise. Without a goal the example is the goal. Returns
  /// the decision of the last plan.
  Decision warm_up(const Observation& example, int64_t repetitions = 2);

  /// Decides on the next raw action of every problem. Never throws. `executed` [B,dim]: the raw
  /// actions really applied since the last call, where they differ from the ones decided.
  Decision act(const Observation& observation, const Tensor& executed = {});

  /// New episode for all problems: history, plans and warm starts are dropped; the goal stays.
  void reset();
  /// New episode for some problems.
  void reset(const std::vector<int64_t>& rows);

  const MpcOptions& options() const noexcept;
  const ActionSpace& action_space() const noexcept;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace foresight
