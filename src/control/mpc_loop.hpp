// SPDX-License-Identifier: Apache-2.0
// What is behind Mpc: the bookkeeping plus the model's states, from an observation to a guaranteed
// action. mpc_loop.cpp: the frame; mpc_observe.cpp: what a plan starts from; mpc_plan.cpp: solving;
// mpc_answer.cpp: the last rungs and the limits; mpc_watch.cpp: the safety monitor.
#pragma once

#include <map>
#include <numeric>
#include <optional>

#include "foresight/control/action_limits.hpp"
#include "foresight/control/mpc.hpp"

namespace foresight {
namespace detail {

inline Tensor index_tensor(const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong); }

inline std::vector<int64_t> all_rows(int64_t batch) {
  std::vector<int64_t> rows(static_cast<std::size_t>(batch));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

inline void append(std::string& message, const std::string& text) {
  message += (message.empty() ? "" : "; ") + text;
}

/// What the exception in flight says; call it in a catch block.
std::string current_error();

/// Rows [N] of whose floating fields every element is finite.
std::vector<bool> finite_rows(const std::vector<std::pair<std::string, Tensor>>& fields);

/// Copies of what Mpc::set_task() and set_pinned() take, [B,...] and [B,H,A] on the CPU (or
/// undefined). They throw as those do.
Tensor checked_task_value(std::string_view field, const Tensor& value, int64_t batch);
Tensor checked_pinned(const Tensor& pinned, const MpcOptions& options, const ActionSpace& space);

}  // namespace detail

class Mpc::Loop {
 public:
  using Clock = Problem::Clock;
  using TimeSource = std::function<Clock::time_point()>;
  enum class Planning { when_due, not_now };

  Loop(std::shared_ptr<const WorldModel> model, Objective objective,
       std::shared_ptr<const Planner> planner, MpcOptions options, TimeSource now);
  const MpcOptions& options() const { return options_; }
  const ModelSpec& spec() const { return model_->spec(); }
  const ActionSpace& space() const { return model_->spec().action; }

  void set_goal(const Observation& goal, const std::vector<int64_t>& rows);
  void set_task(std::string_view field, const Tensor& value);
  void set_pinned(const Tensor& pinned);
  using Proposals = std::function<Tensor(const State& start, Noise& noise)>;
  void set_proposals(Proposals proposals);
  void reset_rows(const std::vector<int64_t>& rows);
  Decision warm_up(const Observation& example, int64_t repetitions);
  Decision act(const Observation& observation, const Tensor& executed, Planning planning);
  Tensor upcoming() const;
  void watch(std::shared_ptr<SafetyMonitor> monitor, std::shared_ptr<IncidentLog> incidents);
  bool watched() const { return monitor_ != nullptr; }

 private:
  // One act() on its way.
  struct Step {
    explicit Step(int64_t batch);
    void blame(int64_t row, Status status, Fault fault);
    void blame(const std::vector<int64_t>& rows, Status status, Fault fault,
               const std::string& why);
    bool well(int64_t row) const {
      return is_usable(decision.statuses[static_cast<std::size_t>(row)]);
    }

    Decision decision;
    std::vector<bool> failed;  // the plan that was due failed: the rungs below answer
  };

  // What a problem plans from: a state that was observed `lag` control steps ago.
  struct Sight {
    State state;
    int64_t lag = 0;
  };
  // Problems that share a solve.
  struct Group {
    std::vector<int64_t> rows;
    int64_t lag = 0;
    std::optional<Clock::time_point> deadline;
  };

  // --- the frame
  Clock::time_point now() const;
  double seconds_since(Clock::time_point start) const;
  std::optional<Clock::time_point> deadline() const;
  // Until when the first of `groups` groups may plan, so that the others get as much.
  std::optional<Clock::time_point> share_of_time(std::size_t groups) const;
  void replan();
  bool has_goal() const { return task_.has(kGoal); }
  void clear_goal();
  Tensor safe_action() const;
  void decide(const Observation& observation, const Tensor& executed, Planning planning,
              Step& step);

  // --- what a plan starts from
  // Which problems have a usable observation; the others are told and lose their history.
  std::vector<bool> accept_observation(const Observation& observation, const Tensor& executed,
                                       Step& step);
  // What was applied in the control step before the observation, NaN where unknown.
  Tensor applied(const Tensor& executed, Step& step);
  // Incremental mode: advances the histories that are due on the grid.
  void take_in(const Observation& observation, const std::vector<bool>& usable, Step& step);
  // Observes `rows`. Those that come out finite are returned, the others lose their history.
  std::map<int64_t, State> observe(const std::vector<int64_t>& rows, const State& before,
                                   Tensor block, const Observation& observation, Step& step);
  Sight sight_of(int64_t row) const;
  std::vector<Group> groups_of(const std::vector<int64_t>& due) const;
  // The state of a group at the moment when its plan takes effect. Rows without a finite one are
  // taken out of the group; an empty group has no state.
  State start_of(Group& group, Step& step);
  State window_state(const Group& group);
  State advanced(const Group& group, State state);
  void forget(int64_t row);

  // --- solving
  void plan_group(const Group& group, const State& state, Step& step);
  // Plans `rows`, a part of `group` whose states are `state`; only the first rung starts warm.
  // Returns the rows that got no usable plan.
  std::vector<int64_t> solve(const std::vector<int64_t>& rows, const Group& group,
                             const State& state, ActionSource rung, Step& step);
  Problem problem_for(const std::vector<int64_t>& rows, const Group& group, const State& state,
                      ActionSource rung);
  std::vector<int64_t> take(SolvedGroup solved, ActionSource rung, Step& step);
  // Queues the plans at `places` for `rows`.
  void queue(const std::vector<int64_t>& rows, const std::vector<int64_t>& places,
             const Plan& plan);
  // A plan made off the observation grid moves the grid: the row's history starts again at this
  // observation, so that it meets the following replanning times.
  void anchor(int64_t row);
  Task task_of(const std::vector<int64_t>& rows, const at::Device& device) const;
  bool previous_known(int64_t row) const;
  // [rows,dim] normalised; undefined unless it is known for all rows.
  Tensor previous_action(const std::vector<int64_t>& rows) const;

  // --- the last rungs, and the guarantee: finite and within the limits, for every problem
  void answer(Step& step);
  void commit(const Tensor& raw);
  Tensor as_symbols(const Tensor& one_hot) const;

  // --- the safety monitor, if there is one
  // Judges the transitions over the block that ended `lag` control steps ago, of those rows whose
  // actions are known: `before` and `after` are the states of `rows`.
  void judge(const std::vector<int64_t>& rows, const State& before, const State& after,
             int64_t lag);
  void judge(const std::vector<int64_t>& rows, const State& before,
             const std::map<int64_t, State>& after);
  // Replaces the actions of problems whose flag is up.
  void guard(Step& step, Tensor& raw);
  void record_incidents(const Observation& observation, const Decision& decision) noexcept;

  std::shared_ptr<const WorldModel> model_;
  Objective objective_;
  std::shared_ptr<const Planner> planner_;
  MpcOptions options_;
  TimeSource now_;
  ActionLimits limits_;
  PhiloxNoise noise_;
  std::optional<RecedingHorizon> plans_;
  int64_t grid_ = 1;  // control steps between the observations that histories are made of
  int64_t lag_ = 0;   // how old an observation is from which the latency ends on a whole block
  bool hurried_ = true;
  Clock::time_point start_;

  Task task_{1};
  Tensor pinned_;  // [B,H,A] or undefined
  Proposals proposals_;
  Tensor safe_;         // [1,dim] raw
  Tensor last_action_;  // [B,dim] raw: from where the next change counts; NaN: unknown
  Tensor committed_;    // [B,latency_steps,dim] raw: decided but not yet in effect, oldest first
  Tensor in_effect_;    // [B,dim] raw: what the commitments put into effect last; NaN: unknown
  std::vector<ActionSource> rungs_;         // where each queue came from
  std::vector<int64_t> ages_;               // observed steps since the history was cleared
  std::vector<std::vector<State>> states_;  // per problem, one per phase, batch [1]
  std::map<int64_t, State> off_grid_;       // states of this step that do not continue a history
  std::shared_ptr<SafetyMonitor> monitor_;
  std::shared_ptr<IncidentLog> incidents_;
};

}  // namespace foresight
