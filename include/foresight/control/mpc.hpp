// SPDX-License-Identifier: Apache-2.0
// The control loop's front end: observation in, one safe raw action out, in bounded time.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "foresight/control/receding_horizon.hpp"
#include "foresight/control/safety_monitor.hpp"
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

/// The rung of the ladder that an action comes from, best first.
enum class ActionSource {
  plan,           ///< a plan that was found at the first attempt
  retried_plan,   ///< a plan that a search from the reset distribution found after that
  previous_plan,  ///< the rest of an earlier plan, because the one that was due failed
  safe_action,    ///< MpcOptions::safe_action, because nothing else is left
};

/// What went wrong first for a problem in one act(); executed_rejected, which costs no plan, gives
/// way to anything else.
enum class Fault {
  none,
  executed_rejected,       ///< the reported actions are malformed: the decided ones are assumed
  observation_rejected,    ///< a field is missing, or has the wrong shape, batch or dtype
  observation_non_finite,  ///< NaN or infinity in this problem's observation
  observe_failed,          ///< the model raised an error while it took in the observation or
                           ///< advanced it through the latency
  state_non_finite,        ///< the model made NaN or infinity of a good observation
  solve_failed,            ///< the model, the cost or the planner raised an error while planning
  cost_non_finite,         ///< no candidate had a finite cost
  plan_rejected,           ///< the planner answered with the wrong shape, NaN or infinity
  infeasible,              ///< no candidate keeps the constraints
  deadline,                ///< the time was over before anything usable was found
  no_plan,                 ///< nothing is left of a plan: follow(), or AsyncMpc before its first
  surprised,               ///< a safety monitor replaced the action, see Mpc::watch()
  plan_stale,              ///< AsyncMpc: the newest plan is too old, or the clock jumped
  internal,                ///< an error inside the loop itself, out of memory for example
};

template <>
struct EnumNames<HistoryMode> {
  static constexpr std::array<std::pair<std::string_view, HistoryMode>, 2> names{
      {{"incremental", HistoryMode::incremental}, {"window", HistoryMode::window}}};
};
template <>
struct EnumNames<ActionSource> {
  static constexpr std::array<std::pair<std::string_view, ActionSource>, 4> names{
      {{"plan", ActionSource::plan},
       {"retried_plan", ActionSource::retried_plan},
       {"previous_plan", ActionSource::previous_plan},
       {"safe_action", ActionSource::safe_action}}};
};
template <>
struct EnumNames<Fault> {
  static constexpr std::array<std::pair<std::string_view, Fault>, 15> names{
      {{"none", Fault::none},
       {"executed_rejected", Fault::executed_rejected},
       {"observation_rejected", Fault::observation_rejected},
       {"observation_non_finite", Fault::observation_non_finite},
       {"observe_failed", Fault::observe_failed},
       {"state_non_finite", Fault::state_non_finite},
       {"solve_failed", Fault::solve_failed},
       {"cost_non_finite", Fault::cost_non_finite},
       {"plan_rejected", Fault::plan_rejected},
       {"infeasible", Fault::infeasible},
       {"deadline", Fault::deadline},
       {"no_plan", Fault::no_plan},
       {"surprised", Fault::surprised},
       {"plan_stale", Fault::plan_stale},
       {"internal", Fault::internal}}};
};

/// One control step is one act(). A block lasts G = ActionSpace::block * steps_per_action of them.
struct FORESIGHT_API MpcOptions {
  int64_t batch = 1;            ///< one robot
  int64_t horizon = 5;          ///< LeWM's and stable-worldmodel's
  int64_t replan_steps = 0;     ///< the whole plan: the fewest solves, and what LeWM's results were
                                ///< measured with
  double steps_per_action = 1;  ///< the loop runs at the model's rate
  Interpolation interpolation = Interpolation::hold;  ///< the commands that the model was shown
  int64_t latency_steps = 0;  ///< a simulator or a fast loop: the answer applies at once
  HistoryMode history_mode = HistoryMode::incremental;  ///< right for every model
  int64_t history = 0;     ///< what the model can use: more is wasted, less is another model
  bool warm_start = true;  ///< the unexecuted rest of a plan is nearly right already
  double deadline_ms = 0;  ///< none: only the user knows the period of the loop
  int64_t retries = 1;     ///< one: a second failure in a row is seldom bad luck, and the time left
                           ///< is better kept
  std::vector<double> safe_action = {};  ///< zeros: for most actuators, to do nothing
  std::vector<double> max_step = {};     ///< unlimited: models are trained without rate limits
  int64_t candidate_bytes = 0;           ///< unlimited: a vector latent takes a few megabytes
  int64_t seed = 0;                      ///< any value does; a fixed one makes runs repeat

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("batch", self.batch, "problems controlled at once");
    visit("horizon", self.horizon, "action blocks per plan");
    visit("replan_steps", self.replan_steps,
          "control steps before the next plan; need not be whole blocks; 0: the whole plan");
    visit("steps_per_action", self.steps_per_action,
          "control steps per raw action of the model (rate of the loop / rate of the model), "
          ">= 1; a block must last a whole number of them");
    visit("interpolation", self.interpolation,
          "how raw actions become commands where steps_per_action > 1");
    visit("latency_steps", self.latency_steps,
          "control steps from an observation to the moment when its answer takes effect");
    visit("history_mode", self.history_mode, "how the model sees the past");
    visit("history", self.history, "observations in window mode; 0: what the model can use");
    visit("warm_start", self.warm_start, "start from the unexecuted rest of the last plan");
    visit("deadline_ms", self.deadline_ms, "time for one act(), milliseconds; 0: none");
    visit("retries", self.retries,
          "further solves from the reset distribution when one fails and time is left");
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

class IncidentLog;

/// The answer to one observation.
struct Decision {
  Status status = Status::not_started;  ///< the worst of `statuses`
  std::string message = "act() was not called";
  std::vector<Status> statuses;       ///< one per problem
  std::vector<ActionSource> sources;  ///< one per problem: which rung
  std::vector<Fault> faults;  ///< one per problem: why not a better one, or what else failed
  Tensor action;  ///< [B,dim] raw, CPU float, always finite and within the box and rate limits;
                  ///< discrete: int64 [B,1]
  std::vector<bool> planned;          ///< one per problem: this call found it a new plan
  std::vector<SafetyVerdict> safety;  ///< one per problem while a monitor watches, else empty
  std::vector<SolvedGroup> solved;    ///< what was planned in this call; usually empty or one group
  double observe_seconds = 0;         ///< in the model's observe()
  double plan_seconds = 0;            ///< in the planner
  double total_seconds = 0;           ///< act() from entry to return

  bool replanned() const { return !solved.empty(); }
};

/// Receding-horizon control of B problems.
///
/// **Ladder.** For each problem: plan; while time lasts, plan again from the reset distribution
/// (without warm start); the rest of the previous plan; the safe action. Decision::sources says
/// which rung answered and Decision::faults why. A problem that lost its plan tries again at every
/// following act().
///
/// **Limits.** Candidates keep the action space's box and MpcOptions::max_step; the answer is
/// checked again, in whatever way it came about. The rate is counted from the action reported as
/// `executed`, else from the one decided last. If a robot was moved outside the box, the box wins.
/// Where steps_per_action > 1, candidates are held to max_step per raw action (hold, whose changes
/// happen within one control step) or to steps_per_action * max_step (linear).
///
/// **Latency.** With latency_steps = L the answers of the last L calls are still on their way when
/// an observation arrives (at the start of an episode: the safe action). The model advances the
/// state through them, and the plan starts where it will take effect. A model moves in whole blocks
/// of G control steps: where L is no multiple of G, the state is advanced from the last observation
/// that lies a whole number of blocks before that moment, -L mod G < G control steps old, through
/// what was executed since as well. That is exact for an exact model. Only while an episode has no
/// such observation yet (its first control steps), and when a plan is made off the grid of
/// observations (a goal changed, a plan failed), the newest observation is advanced by the whole
/// blocks within L alone: an approximation by less than a block.
///
/// **Groups.** Two problems with different numbers of observed steps are planned in separate
/// solves, so that no model is shown a history that did not happen (except in window mode, which
/// pads like stable-worldmodel).
class FORESIGHT_API Mpc {
 public:
  /// Throws Error on options that do not fit the model. `now` reads the time for deadlines and
  /// timings; it may jump in both directions.
  Mpc(std::shared_ptr<const WorldModel> model, Objective objective,
      std::shared_ptr<const Planner> planner, MpcOptions options,
      std::function<Problem::Clock::time_point()> now = Problem::Clock::now);
  ~Mpc();
  Mpc(Mpc&&) noexcept;
  Mpc& operator=(Mpc&&) noexcept;

  /// Sets what to reach: the observation is encoded once and becomes the task field "goal". The
  /// next act() replans. Throws Error on a malformed observation; the old goal then stays.
  void set_goal(const Observation& goal);
  /// The same for some problems: goal of batch rows.size().
  void set_goal(const Observation& goal, const std::vector<int64_t>& rows);
  /// Adds or replaces a task field [B,...] for terms of one's own; any name will do, and only the
  /// objective's terms know which ones mean something. The value is copied. The next act() replans.
  /// Throws Error on another batch, and on NaN or infinity.
  void set_task(std::string_view field, const Tensor& value);
  /// Values that every plan takes, from its first block on: Problem::pinned, [H,A] or [B,H,A]
  /// normalised, NaN where the planner is free. Copied; undefined: none. The next act() replans.
  /// Throws Error on another shape, and on infinity.
  void set_pinned(const Tensor& pinned);
  /// Plans that join the candidates of every solve: Problem::proposals, [B,N,H,A] for the B
  /// problems of the states that plans start from; e.g. policy_proposals(). What it throws, or a
  /// wrong shape, fails the plan. Null: none.
  void set_proposals(std::function<Tensor(const State& start, Noise& noise)> proposals);

  /// Acts on an example observation, without a deadline, through 1 + `repetitions` plans and until
  /// the history is full, so that every shape is met and allocated; then resets and rewinds the
  /// noise. Without a goal the example is the goal. Returns the decision of the last plan.
  Decision warm_up(const Observation& example, int64_t repetitions = 2);

  /// Decides on the next raw action of every problem. Never throws. `executed`: what was really
  /// applied in the control step before the observation, where that differs from what was decided
  /// for it: [B,dim] raw, NaN where it is unknown; discrete: symbols [B,1].
  Decision act(const Observation& observation, const Tensor& executed = {});

  /// Lets `monitor` judge every transition that the histories hold, from the next step on. While
  /// its flag is up, the action of a problem becomes what SafetyMonitorOptions::response says;
  /// planning goes on, so that control resumes at once when the flag is cleared. Steps at which a
  /// flag rises, stands or is cleared are written to `incidents`, if there is one. Null: no more
  /// monitor. Throws Error(unsupported) in window mode with a history of one observation, where
  /// there is no transition to judge.
  void watch(std::shared_ptr<SafetyMonitor> monitor,
             std::shared_ptr<IncidentLog> incidents = nullptr);
  bool watched() const noexcept;

  /// As act(), but plans nothing, due or not: the observation enters the history and the rest of
  /// the plan goes on. For a control step that has no time for planning. An empty observation means
  /// that none was made: histories then start anew.
  Decision follow(const Observation& observation, const Tensor& executed = {});

  /// What the following calls of act() will answer if nothing is planned any more: [B,N,dim] raw
  /// within the limits, N = the longest rest of a plan, NaN beyond a problem's own end. Discrete:
  /// int64 [B,N,1], -1 beyond the end.
  Tensor upcoming() const;

  /// New episode for all problems: history, plans and warm starts are dropped; the goal stays.
  void reset();
  /// New episode for some problems.
  void reset(const std::vector<int64_t>& rows);

  const MpcOptions& options() const noexcept;
  const ActionSpace& action_space() const noexcept;
  const ModelSpec& spec() const noexcept;

 private:
  class Loop;
  std::unique_ptr<Loop> loop_;
};

}  // namespace foresight
