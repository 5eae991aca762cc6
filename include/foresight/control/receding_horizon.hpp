// SPDX-License-Identifier: Apache-2.0
// The bookkeeping of model-predictive control for B problems that reset independently: observation
// history strided by action blocks, queues of raw actions, replanning times, and the warm start
// from what was not executed.
#pragma once

#include <deque>
#include <string>
#include <vector>

#include "foresight/core/observation.hpp"
#include "foresight/planning/planner.hpp"

namespace foresight {

/// Sizes of a receding horizon. A block is ActionSpace::block raw actions, one of which is executed
/// per control step.
struct FORESIGHT_API RecedingHorizonOptions {
  int64_t horizon = 5;
  int64_t replan_steps = 0;
  int64_t history = 1;
  bool warm_start = true;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("horizon", self.horizon, "blocks per plan");
    visit("replan_steps", self.replan_steps,
          "raw actions executed before the next plan; need not be whole blocks; 0: the whole plan");
    visit("history", self.history, "observations handed to the model, one block apart");
    visit("warm_start", self.warm_start, "start from the unexecuted rest of the last plan");
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

  /// Takes in the observations of this step and the raw actions [B,dim] executed just before them
  /// (NaN: none). One-hot rows where the space is discrete.
  void record(const Observation& observation, const Tensor& executed);

  /// Rows whose next action needs a plan; `skip[b]` leaves a row out (terminated, waiting for its
  /// reset).
  std::vector<int64_t> due(const std::vector<bool>& skip = {}) const;
  /// Number of observations available to row `row`, at most `history`.
  int64_t frames_available(int64_t row) const;
  /// The last n observations, one block apart: n = the most that any of the rows has, at most
  /// `history`. Rows with fewer repeat their oldest one with zero blocks between, which shows the
  /// model a standstill: avoid mixing fill levels where that matters.
  ObservationWindow window(const std::vector<int64_t>& rows) const;
  /// The last block executed by the rows, [rows,A] normalised. Needs block recorded steps; unknown
  /// actions count as 0.
  Tensor last_block(const std::vector<int64_t>& rows) const;
  /// What the planner may start from. Empty while no row has a plan, with warm_start off, or when
  /// everything was executed. Rows without a plan are zero beside rows that have one.
  WarmStart warm_start(const std::vector<int64_t>& rows, const Planner& planner) const;

  /// Queues a plan for the rows: plan.actions [rows,H,A] normalised.
  void accept(const std::vector<int64_t>& rows, const Plan& plan);
  /// Raw actions left in the row's queue, those beyond the replanning time included.
  int64_t remaining(int64_t row) const;
  /// Takes one raw action per row from the queues: [B,dim], NaN where there is none or `skip` says
  /// so.
  Tensor next(const std::vector<bool>& skip = {});

  /// What the last plans left, not yet advanced: rows [B,...].
  const WarmStart& last() const noexcept { return last_; }
  const RecedingHorizonOptions& options() const noexcept { return options_; }
  int64_t replan_steps() const noexcept { return options_.replan_steps; }

 private:
  struct Row {
    int64_t seen = 0;      // steps recorded since the history was cleared
    int64_t cursor = 0;    // next queued raw action
    int64_t taken = 0;     // raw actions executed since the last plan
    bool queued = false;   // the queue holds a plan
    bool planned = false;  // the store holds a plan
    bool due = true;
  };
  void check_rows(const std::vector<int64_t>& rows) const;
  void store(const std::vector<int64_t>& rows, const Plan& plan);

  RecedingHorizonOptions options_;
  ActionSpace space_;
  std::vector<Row> rows_;
  std::deque<Observation> frames_;  // newest last, whole batch
  std::deque<Tensor> executed_;     // raw [B,dim], executed just before the frame of the same place
  Tensor queue_;                    // [B,H*block,dim] raw, CPU
  WarmStart last_;
};

}  // namespace foresight
