// SPDX-License-Identifier: Apache-2.0
// A control loop that does not wait for its planner: planning runs on a thread of its own, and
// every control step is answered at once from the newest plan.
//
//   AsyncMpc loop(std::move(mpc), {.period = 0.02});
//   every 20 ms:  loop.observe(sensors(), now());  send(loop.action(now()).action);
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/control/mpc.hpp"

namespace foresight {

/// Times are seconds on one clock of the caller's choice, which observe() and action() share.
struct FORESIGHT_API AsyncMpcOptions {
  double period = 0.02;  ///< 50 Hz
  double max_age = 0.2;  ///< ten such steps: a planner that misses them all is in trouble
  double coast = 0.2;    ///< as long again, before a robot stops that might have gone on safely
  int64_t kept = -1;     ///< what the controller needs
  /// Called once on the planning thread before anything else, e.g. to set its name, priority or
  /// cores. Not part of the fields: code, not a setting. What it throws is told as a failed plan,
  /// and planning goes on.
  std::function<void()> on_thread_start = nullptr;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("period", self.period, "seconds of one control step");
    visit("max_age", self.max_age,
          "seconds since its observation up to which a plan is executed as planned");
    visit("coast", self.coast,
          "further seconds in which its rest is executed as previous_plan; then the safe action");
    visit("kept", self.kept,
          "control steps of waiting observations kept for the model's history beside the newest; "
          "0: only the newest; -1: what history, latency and a safety monitor need");
  }
  std::vector<std::string> validate() const;
};

/// An answer. `solved` is empty: planning is elsewhere; `total_seconds` is what the caller waited.
struct AsyncDecision : Decision {
  std::vector<double> plan_age;  ///< seconds since the observation behind the plan; NaN: no plan
};

/// The newest plan of one problem.
struct AsyncPlan {
  double observed = std::numeric_limits<double>::quiet_NaN();  ///< time of its observation
  double begin = std::numeric_limits<double>::quiet_NaN();     ///< time of its first command
  Tensor commands;  ///< [n,dim] raw, one per control step from `begin` on; discrete: int64 [n,1]
  double cost = std::numeric_limits<double>::quiet_NaN();
  std::vector<std::pair<std::string, double>> terms;  ///< of the cost, by name

  bool known() const { return commands.defined(); }
};

/// Counted since the start.
struct AsyncStatistics {
  int64_t observations = 0;   ///< handed over
  int64_t dropped = 0;        ///< of these, replaced by newer ones before anybody looked at them
  int64_t rejected = 0;       ///< handed over with a time that is not finite, or after stop()
  int64_t plans = 0;          ///< planning steps that found every plan that was due
  int64_t failed_plans = 0;   ///< planning steps that did not
  int64_t answers = 0;        ///< calls of action()
  int64_t stale_answers = 0;  ///< of these, with a problem whose plan was older than max_age
  int64_t safe_answers = 0;   ///< of these, with a problem that got the safe action
  double worst_answer_seconds = 0;
  double worst_plan_seconds = 0;
};

/// Mpc behind a thread. All members may be called from any thread at any time; none waits for
/// planning except wait_idle(), stop() and the destructor.
///
/// **Timing.** A plan begins at the time of its observation (MpcOptions::latency_steps later, if
/// that is how long planning takes: the plan is then made for the moment when it arrives).
/// action(t) answers its command for the control step nearest to t, so that a loop may jitter by
/// less than half a period. While a new plan has not begun, the one before goes on.
///
/// **Ladder,** for each problem, on top of Mpc's own: the plan, while it is at most max_age old
/// (previous_plan, if a newer attempt failed); its rest for `coast` seconds more, as previous_plan
/// with Status::fell_back; the safe action. The safe action is also the answer before the first
/// plan, behind the end of a plan, after stop(), and to a time that is not finite or lies before
/// the plan by more than max_age.
///
/// **Limits.** Box and rate hold from answer to answer whatever plans they come from. Calls less
/// than a period apart may change the action by that fraction of MpcOptions::max_step only.
///
/// **Observations.** The planner works on the newest one. Older ones that still wait are replaced
/// and counted, except those that the model needs for its history (`kept`), which are taken in
/// without planning. A gap in time (control steps without an observation) starts the history anew,
/// as does a clock that jumps back.
class FORESIGHT_API AsyncMpc {
 public:
  /// Takes over a controller, best after Mpc::warm_up() and with a goal. A safety monitor and
  /// proposals are given to it before: its planning thread calls them. MpcOptions::replan_steps is
  /// the shortest distance between two plans; 1 plans as often as there is time. `now` measures
  /// how long answers take; several threads call it. Throws Error(invalid_option).
  explicit AsyncMpc(Mpc mpc, AsyncMpcOptions options = {},
                    std::function<Problem::Clock::time_point()> now = Problem::Clock::now);
  ~AsyncMpc();
  AsyncMpc(AsyncMpc&&) noexcept;
  AsyncMpc& operator=(AsyncMpc&&) noexcept;

  /// Hands over an observation of the world at `time`; it is copied. `executed` as in Mpc::act();
  /// unset: the answer that was in effect during the control step before `time`, also where the
  /// observation comes late (a camera's pipeline); unknown if that is longer ago than the last 64
  /// answers. Never throws and never waits; what is wrong with the observation is told by the
  /// answers that follow.
  void observe(const Observation& observation, double time, const Tensor& executed = {}) noexcept;

  /// The action of every problem at `time`, at once. Never throws.
  AsyncDecision action(double time) noexcept;

  /// As Mpc::set_goal(), set_task() and set_pinned(), in order with the observations: plans made
  /// from later ones pursue the new goal, the present plan goes on until then. Throws Error on a
  /// wrong field or shape and on NaN or infinity; what only the model can find wrong is told in the
  /// answers' message, and the old goal stays.
  void set_goal(const Observation& goal);
  void set_goal(const Observation& goal, const std::vector<int64_t>& rows);
  void set_task(std::string_view field, const Tensor& value);
  void set_pinned(const Tensor& pinned);

  /// The plan that is in execution or comes next, whichever is newer, for displays and logs;
  /// AsyncPlan::known() is false before the first and after reset(). The tensor is a copy. Throws
  /// Error(invalid_argument) on a row out of range.
  AsyncPlan plan(int64_t row = 0) const;

  /// New episode: plans are dropped at once, so that the safe action is answered until one is made
  /// from an observation handed over afterwards. Goals stay.
  void reset();
  void reset(const std::vector<int64_t>& rows);

  /// Waits until everything handed over was worked on, at most `seconds`. True if so.
  bool wait_idle(double seconds);

  /// Ends the planning thread after the solve in which it is (see MpcOptions::deadline_ms). Answers
  /// are the safe action from then on. Further calls do nothing.
  void stop() noexcept;

  AsyncStatistics statistics() const;
  const AsyncMpcOptions& options() const noexcept;
  const MpcOptions& mpc_options() const noexcept;

 private:
  class Worker;
  std::unique_ptr<Worker> worker_;
};

}  // namespace foresight
