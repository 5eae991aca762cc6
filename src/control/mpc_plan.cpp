// SPDX-License-Identifier: Apache-2.0
// Solving for the problems that are due, and what counts as a usable plan.
#include <fmt/format.h>

#include <algorithm>

#include "mpc_loop.hpp"

namespace foresight {

using detail::append;
using detail::index_tensor;
using detail::seconds_since;
using Clock = Problem::Clock;

void Mpc::Loop::plan_window(const std::vector<int64_t>& rows, Decision& decision,
                            std::vector<bool>& failed) {
  const auto begin = Clock::now();
  State state;
  try {
    const auto window = plans_->window(rows);
    state = model_->initial(static_cast<int64_t>(rows.size()));
    for (std::size_t i = 0; i < window.frames.size(); ++i) {
      auto block = i == 0 ? Tensor() : window.blocks[i - 1];
      if (block.defined()) block = block.to(state.fields().front().second.device());
      state = model_->observe(state, block, window.frames[i], noise_);
    }
  } catch (const std::exception& error) {
    append(decision.message, std::string("observe() failed: ") + error.what());
    for (const auto row : rows) plans_->forget_history(row);
    fail_rows(decision, failed, rows, Status::failed);
    return;
  }
  decision.observe_seconds += seconds_since(begin);
  plan_group(rows, state, decision, failed);
}

void Mpc::Loop::plan_group(const std::vector<int64_t>& rows, const State& state, Decision& decision,
                           std::vector<bool>& failed) {
  const auto begin = Clock::now();
  auto open = solve(rows, rows, state, options_.warm_start ? Start::warm : Start::cold, decision);
  for (int64_t retry = 0; retry < options_.retries && !open.empty() && time_left(); ++retry)
    open = solve(open, rows, state, Start::cold, decision);
  for (const auto row : open) {
    failed[static_cast<std::size_t>(row)] = true;
    if (is_usable(decision.statuses[static_cast<std::size_t>(row)]))
      decision.statuses[static_cast<std::size_t>(row)] = Status::fell_back;
  }
  decision.plan_seconds += seconds_since(begin);
}

std::vector<int64_t> Mpc::Loop::solve(const std::vector<int64_t>& rows,
                                      const std::vector<int64_t>& group, const State& state,
                                      Start start, Decision& decision) {
  std::vector<int64_t> places;
  for (const auto row : rows)
    places.push_back(std::distance(group.begin(), std::find(group.begin(), group.end(), row)));
  const auto& example = state.fields().front().second;
  const auto own =
      rows.size() == group.size() ? state : state.select(index_tensor(places).to(example.device()));
  SolvedGroup solved;
  solved.rows = rows;
  try {
    Problem problem;
    problem.batch = static_cast<int64_t>(rows.size());
    problem.horizon = options_.horizon;
    problem.action = space();
    problem.deadline = deadline();
    problem.options = at::TensorOptions().device(example.device()).dtype(float_type(state));
    if (start == Start::warm) problem.warm_start = plans_->warm_start(rows, *planner_);
    problem.cost = objective_.cost_function(*model_, own, noise_, task_of(rows, example.device()),
                                            {.bytes = options_.candidate_bytes});
    solved.plan = planner_->solve(problem, noise_);
  } catch (const std::exception& error) {
    solved.plan.status = Status::failed;
    solved.plan.statuses.assign(rows.size(), Status::failed);
    solved.plan.message = error.what();
  }
  return take(std::move(solved), decision);
}

std::vector<int64_t> Mpc::Loop::take(SolvedGroup solved, Decision& decision) {
  const auto& plan = solved.plan;
  std::vector<int64_t> accepted, open, places;
  const bool searched = plan.diagnostics.iterations > 0;
  const bool shaped =
      plan.actions.defined() &&
      plan.actions.sizes() == at::IntArrayRef({static_cast<int64_t>(solved.rows.size()),
                                               options_.horizon, space().width()});
  const auto finite = shaped ? plan.actions.isfinite().all(2).all(1).cpu() : Tensor();
  for (std::size_t i = 0; i < solved.rows.size(); ++i) {
    const auto row = solved.rows[i];
    const auto status = i < plan.statuses.size() ? plan.statuses[i] : plan.status;
    auto& told = decision.statuses[static_cast<std::size_t>(row)];
    if (is_usable(status) && searched && shaped && finite[static_cast<int64_t>(i)].item<bool>()) {
      accepted.push_back(row);
      places.push_back(static_cast<int64_t>(i));
      told = status;
    } else {
      open.push_back(row);
      told = is_usable(status) && searched ? Status::non_finite : status;
    }
  }
  if (!open.empty()) append(decision.message, "planner: " + plan.message);
  for (const auto row : accepted) anchor(row);
  if (!accepted.empty()) {
    if (accepted.size() == solved.rows.size()) {
      plans_->accept(accepted, plan);
    } else {
      Plan part;
      const auto index = index_tensor(places);
      part.actions = plan.actions.index_select(0, index.to(plan.actions.device()));
      part.warm_start = plan.warm_start.select(index);
      plans_->accept(accepted, part);
    }
  }
  decision.solved.push_back(std::move(solved));
  return open;
}

void Mpc::Loop::anchor(int64_t row) {
  const auto seen = off_grid_.find(row);
  if (seen == off_grid_.end()) return;
  auto& phases = states_[static_cast<std::size_t>(row)];
  phases.assign(phases.size(), State());
  phases.front() = seen->second;
  ages_[static_cast<std::size_t>(row)] = 1;
}

at::ScalarType Mpc::Loop::float_type(const State& state) {
  for (const auto& [name, value] : state.fields())
    if (value.is_floating_point()) return value.scalar_type();
  return at::kFloat;
}

Task Mpc::Loop::task_of(const std::vector<int64_t>& rows, const at::Device& device) const {
  Task task(1);
  const auto index = index_tensor(rows);
  for (const auto& [name, value] : task_.fields())
    task.set(name, value.index_select(0, index.to(value.device())));
  if (space().discrete) return task;
  auto single = space();
  single.block = 1;
  const auto previous = last_action_.index_select(0, index);
  if (previous.isfinite().all().item<bool>())
    task.set(kPreviousAction, single.normalise(previous.unsqueeze(1)).to(device));
  return task;
}

}  // namespace foresight
