// SPDX-License-Identifier: Apache-2.0
// What is behind AsyncMpc: a mailbox of events towards the planning thread, and one slot a problem
// with the newest plan towards whoever asks for actions. One mutex guards both; it is held for
// copying a few numbers and never while anything is planned.
#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <thread>

#include "foresight/control/action_limits.hpp"
#include "foresight/control/async_mpc.hpp"

namespace foresight {

class AsyncMpc::Worker {
 public:
  Worker(Mpc mpc, AsyncMpcOptions options, std::function<Problem::Clock::time_point()> now);
  ~Worker();
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  void observe(const Observation& observation, double time, const Tensor& executed);
  AsyncDecision action(double time);
  void set_goal(const Observation& goal, std::vector<int64_t> rows);
  void set_task(std::string_view field, const Tensor& value);
  void set_pinned(const Tensor& pinned);
  void reset(std::vector<int64_t> rows);
  AsyncPlan plan(int64_t row) const;
  bool wait_idle(double seconds);
  void stop() noexcept;
  AsyncStatistics statistics() const;
  std::vector<int64_t> all_rows() const;

  const AsyncMpcOptions& options() const { return options_; }
  const MpcOptions& mpc_options() const { return mpc_options_; }

 private:
  // What the planning thread is told, in order.
  struct Event {
    enum class Kind { observation, goal, task, pinned, reset };
    Kind kind = Kind::observation;
    Observation observation;    // or goal
    double time = 0;            // of an observation
    Tensor executed;            // before an observation; undefined: unknown
    std::vector<int64_t> rows;  // of a goal or reset
    std::string field;          // of a task
    Tensor value;               // of a task, or what is pinned
    std::uint64_t number = 0;   // position among all events
  };

  // Commands of one plan; command i is for `begin` + i * period.
  struct Commands {
    double begin = 0;
    double observed = 0;                       // time of the observation behind it
    Tensor values;                             // [n,dim] float, or int64 [n,1] symbols
    ActionSource source = ActionSource::plan;  // or retried_plan
    double cost = std::numeric_limits<double>::quiet_NaN();
    std::vector<std::pair<std::string, double>> terms;
  };

  // What was answered from `time` on, or for the first time then: answers within half a period
  // share an entry, which holds the last of them.
  struct Answer {
    double time;
    Tensor action;  // as `last_`
  };
  static constexpr std::size_t kAnswersKept = 64;

  // The planner's newest word on one problem.
  struct Slot {
    std::optional<Commands> current;      // being executed
    std::deque<Commands> coming;          // begin later, in this order; more than one under latency
    Status status = Status::not_started;  // of the last attempt
    Fault fault = Fault::no_plan;
    std::string message;
    SafetyVerdict safety;
    bool watched = false;
    double answered = 0;           // time of the last answer, valid where `last_` is known
    std::uint64_t valid_from = 0;  // plans from earlier events belong to another episode
  };

  // Which rung answers for one problem.
  struct Rung {
    void because(Status why, Fault what, std::string text);
    ActionSource source = ActionSource::safe_action;
    Status status = Status::fell_back;
    Fault fault = Fault::none;
    std::string message;
    double age = std::numeric_limits<double>::quiet_NaN();
    Tensor command;  // [dim] or [1]; undefined: the safe action
    bool stale = false;
  };

  // The planning thread (async_mpc_plan.cpp).
  void run();
  void work(std::deque<Event> events);
  void apply(const Event& event);
  // Takes in one observation. `newest`: plan from it; else it only extends the history.
  enum class Use { plan, history };
  void take(const Event& event, Use use);
  // Tells Mpc about control steps without an observation. False: this one belongs to a control step
  // that was dealt with.
  bool bridge_gap(double time);
  void publish(const Event& event, const Decision& decision, const Tensor& upcoming);
  void tell_failure(const std::string& message);

  // Answering, under the mutex (async_mpc_answer.cpp).
  void answer(AsyncDecision& decision, double time);
  Rung choose(Slot& slot, double time, int64_t row);
  void guard(const Slot& slot, int64_t row, Rung& rung) const;
  void follow(const Slot& slot, double time, Rung& rung) const;
  Tensor within_rate(const Tensor& wanted, double time);
  Problem::Clock::time_point now() const noexcept;
  void push(Event event);
  void push_wish(Event event);  // what drop_overtaken() looks at
  void drop_superseded(double time);
  void drop_overtaken();
  Tensor answer_before(double time) const;
  void keep_answer(double time);
  std::vector<int64_t> checked(std::vector<int64_t> rows) const;

  // Constant, or the planning thread's own.
  Mpc mpc_;
  AsyncMpcOptions options_;
  MpcOptions mpc_options_;
  ModelSpec spec_;
  ActionLimits limits_;
  std::function<Problem::Clock::time_point()> now_;
  Tensor safe_;       // [dim] float or [1] int64
  Tensor emergency_;  // [B,...], for when there is no memory for another
  double latency_;    // seconds
  int64_t plan_steps_;
  std::optional<double> taken_;  // time of the last observation that Mpc knows

  mutable std::mutex mutex_;
  std::condition_variable wake_, idle_;
  std::deque<Event> events_;
  std::vector<Slot> slots_;
  Tensor last_;  // [B,dim] float or [B,1] int64, the last answers; NaN or -1: unknown
  std::deque<Answer> answers_;  // newest last
  std::string wish_problem_;    // what the last goal, task or pinned plan was rejected for
  std::uint64_t number_ = 0;
  AsyncStatistics statistics_;
  bool busy_ = false;
  bool stopping_ = false;

  std::mutex join_;
  std::thread thread_;  // last: starts when everything else is there
};

}  // namespace foresight
