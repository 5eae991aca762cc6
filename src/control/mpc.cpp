// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/mpc.hpp"

#include "mpc_loop.hpp"

namespace foresight {

using detail::all_rows;

std::vector<std::string> MpcOptions::validate() const {
  Rules rules("MpcOptions");
  rules.at_least("batch", batch, 1)
      .at_least("horizon", horizon, 1)
      .at_least("replan_steps", replan_steps, 0)
      .within("steps_per_action", steps_per_action, 1, 1e6)
      .at_least("latency_steps", latency_steps, 0)
      .at_least("history", history, 0)
      .within("deadline_ms", deadline_ms, 0, 1e9)
      .at_least("retries", retries, 0)
      .all_within("safe_action", safe_action)
      .at_least("candidate_bytes", candidate_bytes, 0);
  for (const double step : max_step)
    rules.check(step > 0, "max_step", step, "must be positive, +infinity where free");
  return rules.problems();
}

Mpc::Mpc(std::shared_ptr<const WorldModel> model, Objective objective,
         std::shared_ptr<const Planner> planner, MpcOptions options,
         std::function<Problem::Clock::time_point()> now)
    : loop_(std::make_unique<Loop>(std::move(model), std::move(objective), std::move(planner),
                                   std::move(options), std::move(now))) {}
Mpc::~Mpc() = default;
Mpc::Mpc(Mpc&&) noexcept = default;
Mpc& Mpc::operator=(Mpc&&) noexcept = default;

void Mpc::set_goal(const Observation& goal) {
  loop_->set_goal(goal, all_rows(loop_->options().batch));
}
void Mpc::set_goal(const Observation& goal, const std::vector<int64_t>& rows) {
  loop_->set_goal(goal, rows);
}
void Mpc::set_task(std::string_view field, const Tensor& value) { loop_->set_task(field, value); }
void Mpc::set_pinned(const Tensor& pinned) { loop_->set_pinned(pinned); }
void Mpc::set_proposals(std::function<Tensor(const State& start, Noise& noise)> proposals) {
  loop_->set_proposals(std::move(proposals));
}
Decision Mpc::warm_up(const Observation& example, int64_t repetitions) {
  return loop_->warm_up(example, repetitions);
}
Decision Mpc::act(const Observation& observation, const Tensor& executed) {
  return loop_->act(observation, executed, Loop::Planning::when_due);
}
Decision Mpc::follow(const Observation& observation, const Tensor& executed) {
  return loop_->act(observation, executed, Loop::Planning::not_now);
}
void Mpc::watch(std::shared_ptr<SafetyMonitor> monitor, std::shared_ptr<IncidentLog> incidents) {
  loop_->watch(std::move(monitor), std::move(incidents));
}
bool Mpc::watched() const noexcept { return loop_->watched(); }
Tensor Mpc::upcoming() const { return loop_->upcoming(); }
void Mpc::reset() { loop_->reset_rows(all_rows(loop_->options().batch)); }
void Mpc::reset(const std::vector<int64_t>& rows) { loop_->reset_rows(rows); }
const MpcOptions& Mpc::options() const noexcept { return loop_->options(); }
const ActionSpace& Mpc::action_space() const noexcept { return loop_->space(); }
const ModelSpec& Mpc::spec() const noexcept { return loop_->spec(); }

}  // namespace foresight
