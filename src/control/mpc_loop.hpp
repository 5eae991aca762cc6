// SPDX-License-Identifier: Apache-2.0
// What is behind Mpc: the bookkeeping plus the model's states, from an observation to a guaranteed
// action.
#pragma once

#include <map>
#include <numeric>

#include "foresight/control/mpc.hpp"

namespace foresight {
namespace detail {

inline double seconds_since(Problem::Clock::time_point start) {
  return std::chrono::duration<double>(Problem::Clock::now() - start).count();
}

inline Tensor index_tensor(const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong); }

inline std::vector<int64_t> all_rows(int64_t batch) {
  std::vector<int64_t> rows(static_cast<std::size_t>(batch));
  std::iota(rows.begin(), rows.end(), int64_t{0});
  return rows;
}

inline void append(std::string& message, const std::string& text) {
  message += (message.empty() ? "" : "; ") + text;
}

}  // namespace detail

class Mpc::Loop {
 public:
  Loop(std::shared_ptr<const WorldModel> model, Objective objective,
       std::shared_ptr<const Planner> planner, MpcOptions options);
  const MpcOptions& options() const { return options_; }
  const ActionSpace& space() const { return model_->spec().action; }
  bool has_goal() const { return task_.has(kGoal); }

  void set_goal(const Observation& goal, const std::vector<int64_t>& rows);
  void set_task(std::string_view field, const Tensor& value);
  void clear_goal();
  void reset_rows(const std::vector<int64_t>& rows);
  std::uint64_t noise_position() const { return noise_.position(); }
  void seek_noise(std::uint64_t position) { noise_.seek(position); }

  Decision act(const Observation& observation, const Tensor& executed);

 private:
  enum class Start { warm, cold };

  std::optional<Problem::Clock::time_point> deadline() const;
  bool time_left() const { return !deadline() || Problem::Clock::now() < *deadline(); }

  Tensor safe_action() const;
  // float32 rounding of a limit must not put the action outside it.
  Tensor within_limits(const Tensor& raw) const;
  void forget(int64_t row);
  static void fail_all(Decision& decision, std::vector<bool>& failed, const std::string& why);
  void fail_rows(Decision& decision, std::vector<bool>& failed, const std::vector<int64_t>& rows,
                 Status status) const;
  // Which problems have a usable observation; the others are told and lose their history.
  std::vector<bool> accept_observation(const Observation& observation, const Tensor& executed,
                                       Decision& decision);
  void decide(const Observation& observation, const Tensor& executed, Decision& decision,
              std::vector<bool>& failed);
  // Advances the histories that are due on the grid, and returns the states of the rows that plan
  // now.
  std::map<int64_t, State> observe_incrementally(const Observation& observation,
                                                 const std::vector<bool>& usable,
                                                 const std::vector<int64_t>& due);
  State observe(const std::vector<int64_t>& rows, const State& before, Tensor block,
                const Observation& observation);
  void plan_window(const std::vector<int64_t>& rows, Decision& decision, std::vector<bool>& failed);
  void plan_group(const std::vector<int64_t>& rows, const State& state, Decision& decision,
                  std::vector<bool>& failed);
  // Plans `rows`, a part of `group` whose states are `state`. Returns the rows that got no usable
  // plan.
  std::vector<int64_t> solve(const std::vector<int64_t>& rows, const std::vector<int64_t>& group,
                             const State& state, Start start, Decision& decision);
  std::vector<int64_t> take(SolvedGroup solved, Decision& decision);
  // A plan made off the observation grid moves the grid: the row's history starts again at this
  // observation, so that it meets the following replanning times.
  void anchor(int64_t row);
  static at::ScalarType float_type(const State& state);
  Task task_of(const std::vector<int64_t>& rows, const at::Device& device) const;
  // The last rungs of the ladder, and the guarantee: finite, within limits, for every problem.
  void answer(Decision& decision, const std::vector<bool>& failed);
  std::shared_ptr<const WorldModel> model_;
  Objective objective_;
  std::shared_ptr<const Planner> planner_;
  MpcOptions options_;
  PhiloxNoise noise_;
  std::optional<RecedingHorizon> plans_;
  int64_t grid_ = 1;
  Task task_{1};
  Tensor safe_;                             // [dim] raw
  Tensor last_action_;                      // [B,dim] raw, NaN after a reset
  std::vector<int64_t> ages_;               // observed steps since the history was cleared
  std::vector<std::vector<State>> states_;  // per problem, one per phase, batch [1]
  std::map<int64_t, State> off_grid_;       // states of this step that do not continue a history
  Problem::Clock::time_point start_;
};

}  // namespace foresight
