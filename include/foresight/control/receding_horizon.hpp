// SPDX-License-Identifier: Apache-2.0
// The bookkeeping of model-predictive control for B problems that reset independently: observation
// history strided by action blocks, queues of raw actions, replanning times, and the warm start
// from what was not executed. Everything counts control steps, of which there may be several to one
// raw action of the model.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "foresight/core/observation.hpp"
#include "foresight/planning/planner.hpp"

namespace foresight {

/// How a plan becomes commands where several control steps make one raw action of the model.
enum class Interpolation {
  hold,    ///< each raw action is sent until the next begins: what the model imagined
  linear,  ///< the command moves evenly from the last one sent to the planned one and reaches it in
           ///< the last control step of the raw action: continuous, also from plan to plan
};

template <>
struct EnumNames<Interpolation> {
  static constexpr std::array<std::pair<std::string_view, Interpolation>, 2> names{
      {{"hold", Interpolation::hold}, {"linear", Interpolation::linear}}};
};

/// Sizes of a receding horizon. A block is ActionSpace::block raw actions and lasts G = block *
/// steps_per_action control steps.
struct FORESIGHT_API RecedingHorizonOptions {
  int64_t horizon = 5;          ///< blocks per plan; 5 is LeWM's
  int64_t replan_steps = 0;     ///< 0, the whole plan, is what LeWM's results were measured with
  int64_t history = 1;          ///< 1: enough for a model whose state is one observation
  bool warm_start = true;       ///< the unexecuted rest is nearly right already
  double steps_per_action = 1;  ///< 1: the loop runs at the model's rate
  Interpolation interpolation = Interpolation::hold;  ///< the commands that the model was shown
  int64_t lag = 0;                                    ///< 0: windows end at the newest observation

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("horizon", self.horizon, "blocks per plan");
    visit("replan_steps", self.replan_steps,
          "control steps before the next plan; need not be whole blocks; 0: the whole plan");
    visit("history", self.history, "observations handed to the model, one block apart");
    visit("warm_start", self.warm_start, "start from the unexecuted rest of the last plan");
    visit("steps_per_action", self.steps_per_action,
          "control steps per raw action of the model; a block must last a whole number of them");
    visit("interpolation", self.interpolation, "how raw actions become commands");
    visit("lag", self.lag, "how many control steps ago a window may end");
  }
  std::vector<std::string> validate() const;
};

/// Observations of some problems, oldest first, and the normalised blocks executed between them.
struct ObservationWindow {
  std::vector<Observation> frames;  ///< n observations, batch = number of problems asked for
  std::vector<Tensor>
      blocks;  ///< n-1 tensors [rows,A]; blocks[i] leads from frames[i] to frames[i+1]
};

/// Order of calls in one control step: flush() what was reset, record(), then for the rows due():
/// window(), warm_start(), plan, accept(); finally next().
class FORESIGHT_API RecedingHorizon {
 public:
  RecedingHorizon(RecedingHorizonOptions options, ActionSpace space, int64_t batch);

  /// Problem `row` was reset: its queue, history and warm start are cleared.
  void flush(int64_t row);
  /// Clears the history only: an observation was lost, the plan is still good.
  void forget_history(int64_t row);
  /// Drops the rest of the queue, so that the row is due(); history and warm start stay.
  void request_plan(int64_t row);

  /// Takes in the observations of this step and the commands [B,dim] executed in the control step
  /// before them (NaN: none or unknown). One-hot rows where the space is discrete.
  void record(const Observation& observation, const Tensor& executed);

  /// Rows whose next action needs a plan; `skip[b]` leaves a row out (terminated, waiting for its
  /// reset).
  std::vector<int64_t> due(const std::vector<bool>& skip = {}) const;
  /// Number of observations available to row `row`, at most `history`, `lag` control steps ago.
  int64_t frames_available(int64_t row, int64_t lag = 0) const;
  /// The last n observations, one block apart, the newest `lag` control steps old: n = the most
  /// that any of the rows has, at most `history`. Rows with fewer repeat their oldest one with zero
  /// blocks between, which shows the model a standstill: avoid mixing fill levels where that
  /// matters.
  ObservationWindow window(const std::vector<int64_t>& rows, int64_t lag = 0) const;
  /// The last block executed by the rows, [rows,A] normalised. Needs G recorded steps; unknown
  /// actions count as 0.
  Tensor last_block(const std::vector<int64_t>& rows) const;
  /// The commands of the last `steps` control steps, oldest first: [rows,steps,dim] raw.
  Tensor executed(const std::vector<int64_t>& rows, int64_t steps) const;
  /// G commands [rows,G,dim] as the block that the model would be told, [rows,A] normalised: each
  /// raw action is the mean of the commands sent during it (discrete: the symbol sent longest).
  Tensor as_block(const Tensor& commands) const;
  /// What the planner may start from. Empty while no row has a plan, with warm_start off, or when
  /// everything was executed. Rows without a plan, beside rows that have one, are what `planner`
  /// starts from without a warm start.
  ///
  /// After k control steps a plan u has advanced by k / steps_per_action raw actions. A fraction f
  /// of one blends neighbours, (1 - f) u[n + i] + f u[n + i + 1]: the mean of a held plan over the
  /// new raw action, the value of an interpolated one.
  WarmStart warm_start(const std::vector<int64_t>& rows, const Planner& planner) const;

  /// Queues a plan for the rows: plan.actions [rows,H,A] normalised. `previous` [rows,dim] raw: the
  /// commands from which Interpolation::linear starts; NaN or undefined: from the plan's first.
  void accept(const std::vector<int64_t>& rows, const Plan& plan, const Tensor& previous = {});
  /// Commands left in the row's queue, those beyond the replanning time included.
  int64_t remaining(int64_t row) const;
  /// Takes one command per row from the queues: [B,dim], NaN where there is none or `skip` says so.
  Tensor next(const std::vector<bool>& skip = {});
  /// What next() would take if nothing else was queued: [B,N,dim], N = the most left in a queue;
  /// NaN beyond a row's own end.
  Tensor queued() const;

  /// What the last plans left, not yet advanced: rows [B,...].
  const WarmStart& last() const noexcept { return last_; }
  const RecedingHorizonOptions& options() const noexcept { return options_; }
  int64_t replan_steps() const noexcept { return options_.replan_steps; }
  /// G: control steps that a block lasts.
  int64_t block_steps() const noexcept { return block_steps_; }

 private:
  struct Row {
    int64_t seen = 0;      // steps recorded since the history was cleared
    int64_t cursor = 0;    // next queued raw action
    int64_t taken = 0;     // commands executed since the last plan
    bool queued = false;   // the queue holds a plan
    bool planned = false;  // the store holds a plan
    bool due = true;
  };
  void check_rows(const std::vector<int64_t>& rows) const;
  void check_lag(int64_t lag) const;
  // `left` [rows,...] after `steps[r]` control steps.
  WarmStart advanced(const WarmStart& left, const std::vector<int64_t>& steps,
                     const Planner& planner) const;
  // Makes the rows `places` of `next` what `planner` starts from without a warm start.
  void renew(WarmStart& next, const std::vector<int64_t>& places, const Planner& planner) const;
  void store(const std::vector<int64_t>& rows, const Plan& plan);
  // A plan's raw actions [rows,H*block,dim] as commands [rows,H*G,dim].
  Tensor commands(const Tensor& raw, const Tensor& previous) const;

  RecedingHorizonOptions options_;
  ActionSpace space_;
  int64_t block_steps_ = 1;
  Tensor mean_;  // [block,G]: share of each control step in a raw action; undefined at equal rates
  std::vector<Row> rows_;
  std::deque<Observation> frames_;  // newest last, whole batch
  std::deque<Tensor> executed_;     // raw [B,dim], executed just before the frame of the same place
  Tensor queue_;                    // [B,H*G,dim] raw, CPU
  WarmStart last_;
};

}  // namespace foresight
