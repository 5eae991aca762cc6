// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/mpc.hpp"

#include <fmt/format.h>

#include <cmath>

#include "foresight/core/error.hpp"
#include "mpc_loop.hpp"

namespace foresight {

using detail::all_rows;

std::vector<std::string> MpcOptions::validate() const {
  Rules rules("MpcOptions");
  const auto at_least = [&](std::string_view name, int64_t value, int64_t low) {
    rules.check(value >= low, name, static_cast<double>(value),
                "must be >= " + std::to_string(low));
  };
  at_least("batch", batch, 1);
  at_least("horizon", horizon, 1);
  at_least("replan_steps", replan_steps, 0);
  at_least("history", history, 0);
  at_least("retries", retries, 0);
  at_least("candidate_bytes", candidate_bytes, 0);
  rules.check(std::isfinite(deadline_ms) && deadline_ms >= 0, "deadline_ms", deadline_ms,
              "must be >= 0");
  for (const double value : safe_action)
    rules.check(std::isfinite(value), "safe_action", value, "must be finite");
  for (const double value : max_step) rules.check(value > 0, "max_step", value, "must be positive");
  return rules.problems();
}

Mpc::Mpc(std::shared_ptr<const WorldModel> model, Objective objective,
         std::shared_ptr<const Planner> planner, MpcOptions options)
    : loop_(std::make_unique<Loop>(std::move(model), std::move(objective), std::move(planner),
                                   std::move(options))) {}
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

Decision Mpc::warm_up(const Observation& example, int64_t repetitions) {
  require(repetitions >= 1, ErrorCategory::invalid_argument,
          fmt::format("warm_up: repetitions = {} must be >= 1", repetitions));
  const auto position = loop_->noise_position();
  const bool lent_goal = !loop_->has_goal();
  if (lent_goal) set_goal(example);
  Decision last;
  const auto& options = loop_->options();
  const auto steps =
      options.replan_steps > 0 ? options.replan_steps : options.horizon * loop_->space().block;
  // Two plans at least, so that the warm-started shapes are met as well.
  for (int64_t i = 0; i <= repetitions * steps; ++i) {
    auto decision = act(example);
    if (decision.replanned() || decision.status != Status::ok) last = std::move(decision);
  }
  reset();
  if (lent_goal) loop_->clear_goal();
  loop_->seek_noise(position);
  return last;
}

Decision Mpc::act(const Observation& observation, const Tensor& executed) {
  return loop_->act(observation, executed);
}

void Mpc::reset() { loop_->reset_rows(all_rows(loop_->options().batch)); }
void Mpc::reset(const std::vector<int64_t>& rows) { loop_->reset_rows(rows); }
const MpcOptions& Mpc::options() const noexcept { return loop_->options(); }
const ActionSpace& Mpc::action_space() const noexcept { return loop_->space(); }

}  // namespace foresight
