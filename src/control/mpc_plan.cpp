// SPDX-License-Identifier: Apache-2.0
// Solving for the problems that are due, and what counts as a usable plan.
#include <fmt/format.h>

#include <algorithm>

#include "foresight/core/state_type.hpp"
#include "mpc_loop.hpp"

namespace foresight {

using detail::append;
using detail::current_error;
using detail::index_tensor;

namespace {

// What is searched in: the state's own type, but not in fewer than float32's bits, in which the
// mean of thirty elites is no longer their mean. Models take actions in any.
at::ScalarType search_type(const State& state) {
  const auto type = floating_type(state);
  return at::isReducedFloatingType(type) ? at::kFloat : type;
}

// Why a plan with this status is not used. `searched`: at least one iteration was completed.
Fault fault_of(Status status, bool searched) {
  if (is_usable(status)) return searched ? Fault::plan_rejected : Fault::deadline;
  if (status == Status::non_finite) return Fault::cost_non_finite;
  if (status == Status::infeasible) return Fault::infeasible;
  return Fault::solve_failed;
}

ActionSpace single(ActionSpace space) {
  space.block = 1;
  return space;
}

}  // namespace

void Mpc::Loop::plan_group(const Group& group, const State& state, Step& step) {
  const auto begin = now();
  auto open = solve(group.rows, group, state, ActionSource::plan, step);
  const auto time_left = [&] { return !group.deadline || now() < *group.deadline; };
  for (int64_t retry = 0; retry < options_.retries && !open.empty() && time_left(); ++retry)
    open = solve(open, group, state, ActionSource::retried_plan, step);
  for (const auto row : open) step.failed[static_cast<std::size_t>(row)] = true;
  step.decision.plan_seconds += seconds_since(begin);
}

std::vector<int64_t> Mpc::Loop::solve(const std::vector<int64_t>& rows, const Group& group,
                                      const State& state, ActionSource rung, Step& step) {
  SolvedGroup solved;
  solved.rows = rows;
  try {
    std::vector<int64_t> places;
    for (const auto row : rows)
      places.push_back(
          std::distance(group.rows.begin(), std::find(group.rows.begin(), group.rows.end(), row)));
    const bool whole = rows.size() == group.rows.size();
    const auto own = whole ? state : state.select(index_tensor(places));
    solved.plan = planner_->solve(problem_for(rows, group, own, rung), noise_);
  } catch (...) {
    solved.plan = Plan();
    solved.plan.status = Status::failed;
    solved.plan.message = current_error();
  }
  return take(std::move(solved), rung, step);
}

Problem Mpc::Loop::problem_for(const std::vector<int64_t>& rows, const Group& group,
                               const State& state, ActionSource rung) {
  const auto device = state.fields().front().second.device();
  Problem problem;
  problem.batch = static_cast<int64_t>(rows.size());
  problem.horizon = options_.horizon;
  problem.action = space();
  problem.deadline = group.deadline;
  problem.now = [this] { return now(); };
  problem.options = at::TensorOptions().device(device).dtype(search_type(state));
  if (rung == ActionSource::plan && options_.warm_start)
    problem.warm_start = plans_->warm_start(rows, *planner_);
  if (!options_.max_step.empty()) {
    // A held command changes within one control step, an interpolated one over a raw action.
    const bool hold = options_.interpolation == Interpolation::hold;
    auto most = at::tensor(options_.max_step, at::kDouble) * (hold ? 1 : options_.steps_per_action);
    if (!space().std.empty()) most = most / at::tensor(space().std, at::kDouble);
    problem.max_step = most.to(problem.options);
    if (const auto previous = previous_action(rows); previous.defined())
      problem.previous_action = previous.to(problem.options);
  }
  if (pinned_.defined()) problem.pinned = pinned_.index_select(0, index_tensor(rows));
  if (proposals_) problem.proposals = proposals_(state, noise_);
  problem.cost = objective_.cost_function(*model_, state, noise_, task_of(rows, device),
                                          {.bytes = options_.candidate_bytes});
  return problem;
}

std::vector<int64_t> Mpc::Loop::take(SolvedGroup solved, ActionSource rung, Step& step) {
  const auto& plan = solved.plan;
  const auto count = static_cast<int64_t>(solved.rows.size());
  std::vector<int64_t> accepted, open, places;
  // Stopped before its first iteration, a planner can only repeat what it started from.
  const bool searched = plan.status != Status::deadline_reached || plan.diagnostics.iterations > 0;
  const bool shaped =
      plan.actions.defined() && plan.actions.is_floating_point() &&
      plan.actions.sizes() == at::IntArrayRef({count, options_.horizon, space().width()});
  const auto finite =
      shaped ? plan.actions.isfinite().all(2).all(1).cpu() : at::zeros({count}, at::kBool);
  for (int64_t i = 0; i < count; ++i) {
    const auto place = static_cast<std::size_t>(i);
    const auto row = solved.rows[place];
    const auto status = place < plan.statuses.size() ? plan.statuses[place] : plan.status;
    if (is_usable(status) && searched && finite.data_ptr<bool>()[i]) {
      accepted.push_back(row);
      places.push_back(i);
      step.decision.statuses[static_cast<std::size_t>(row)] = status;
      continue;
    }
    open.push_back(row);
    const auto told = !is_usable(status) ? status
                      : searched         ? Status::non_finite
                                         : Status::fell_back;
    step.blame(row, told, fault_of(status, searched));
  }
  if (!open.empty()) append(step.decision.message, "planner: " + plan.message);
  queue(accepted, places, plan);
  for (const auto row : accepted) {
    step.decision.planned[static_cast<std::size_t>(row)] = true;
    rungs_[static_cast<std::size_t>(row)] = rung;
  }
  step.decision.solved.push_back(std::move(solved));
  return open;
}

void Mpc::Loop::queue(const std::vector<int64_t>& rows, const std::vector<int64_t>& places,
                      const Plan& plan) {
  if (rows.empty()) return;
  for (const auto row : rows) anchor(row);
  const auto previous = last_action_.index_select(0, index_tensor(rows));
  if (static_cast<int64_t>(rows.size()) == plan.actions.size(0)) {
    plans_->accept(rows, plan, previous);
    return;
  }
  Plan part;
  const auto index = index_tensor(places);
  part.actions = plan.actions.index_select(0, index.to(plan.actions.device()));
  part.warm_start = plan.warm_start.select(index);
  plans_->accept(rows, part, previous);
}

void Mpc::Loop::anchor(int64_t row) {
  const auto seen = off_grid_.find(row);
  if (seen == off_grid_.end()) return;
  auto& phases = states_[static_cast<std::size_t>(row)];
  phases.assign(phases.size(), State());
  phases.front() = seen->second;
  ages_[static_cast<std::size_t>(row)] = 1;
}

bool Mpc::Loop::previous_known(int64_t row) const {
  return last_action_[row].isfinite().all().item<bool>();
}

Tensor Mpc::Loop::previous_action(const std::vector<int64_t>& rows) const {
  const auto previous = last_action_.index_select(0, index_tensor(rows));
  if (space().discrete || !previous.isfinite().all().item<bool>()) return {};
  return single(space()).normalise(previous.unsqueeze(1));
}

Task Mpc::Loop::task_of(const std::vector<int64_t>& rows, const at::Device& device) const {
  Task task(1);
  const auto index = index_tensor(rows);
  for (const auto& [name, value] : task_.fields())
    task.set(name, value.index_select(0, index.to(value.device())).to(device));
  if (const auto previous = previous_action(rows); previous.defined())
    task.set(kPreviousAction, previous.to(device));
  return task;
}

}  // namespace foresight
