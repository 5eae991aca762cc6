// SPDX-License-Identifier: Apache-2.0
// Observing, and the guarantee that an action comes out.
#include "mpc_loop.hpp"

#include <c10/core/GradMode.h>
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {

using detail::all_rows;
using detail::append;
using detail::index_tensor;
using detail::seconds_since;
using Clock = Problem::Clock;

namespace {

// Rows [N] of the floating fields that are finite; fields of other types always are.
std::vector<bool> finite_rows(const Observation& observation) {
  auto finite = at::ones({observation.batch()}, at::kBool);
  for (const auto& [name, value] : observation.fields())
    if (value.is_floating_point())
      finite = finite.logical_and(value.isfinite().reshape({value.size(0), -1}).all(1).cpu());
  std::vector<bool> result;
  for (int64_t b = 0; b < finite.size(0); ++b) result.push_back(finite[b].item<bool>());
  return result;
}

void check_row_list(const std::vector<int64_t>& rows, int64_t batch) {
  for (const auto row : rows)
    require(row >= 0 && row < batch, ErrorCategory::invalid_argument,
            fmt::format("Mpc: row {} is out of range 0..{}", row, batch - 1));
}

}  // namespace

Mpc::Loop::Loop(std::shared_ptr<const WorldModel> model, Objective objective,
                std::shared_ptr<const Planner> planner, MpcOptions options)
    : model_(std::move(model)),
      objective_(std::move(objective)),
      planner_(std::move(planner)),
      options_(std::move(options)),
      noise_(static_cast<std::uint64_t>(options_.seed)) {
  require(model_ && planner_, ErrorCategory::invalid_argument, "Mpc needs a model and a planner");
  require(!objective_.empty(), ErrorCategory::invalid_argument, "Mpc needs an objective");
  require_valid(options_);
  const auto& space = model_->spec().action;
  require_valid(space);
  const auto check_size = [&](std::string_view name, const std::vector<double>& values,
                              int64_t size) {
    require(
        values.empty() || static_cast<int64_t>(values.size()) == size,
        ErrorCategory::invalid_option,
        fmt::format("MpcOptions.{} has {} values, expected {} or none", name, values.size(), size));
  };
  check_size("safe_action", options_.safe_action, space.discrete ? 1 : space.dim);
  check_size("max_step", options_.max_step, space.dim);
  require(!space.discrete || options_.max_step.empty(), ErrorCategory::invalid_option,
          "MpcOptions.max_step has no meaning for discrete actions");
  safe_ = safe_action();
  RecedingHorizonOptions horizon;
  horizon.horizon = options_.horizon;
  horizon.replan_steps = options_.replan_steps;
  horizon.warm_start = options_.warm_start;
  if (options_.history_mode == HistoryMode::window)
    horizon.history = options_.history > 0 ? options_.history : model_->spec().history;
  plans_.emplace(horizon, space, options_.batch);
  // Observations fall on every multiple of the greatest common divisor of replanning time and
  // block, modulo the block: that many interleaved histories, each advancing in whole blocks.
  grid_ = std::gcd(plans_->replan_steps(), space.block);
  reset_rows(all_rows(options_.batch));
}

void Mpc::Loop::set_goal(const Observation& goal, const std::vector<int64_t>& rows) {
  check_row_list(rows, options_.batch);
  model_->spec().check(goal, static_cast<int64_t>(rows.size()));
  const auto finite = finite_rows(goal);
  require(std::all_of(finite.begin(), finite.end(), [](bool ok) { return ok; }),
          ErrorCategory::non_finite, "goal observation holds NaN or infinity");
  c10::NoGradGuard no_grad;
  const auto latent = model_->encode(goal, noise_);
  Tensor all;
  if (static_cast<int64_t>(rows.size()) == options_.batch && rows == all_rows(options_.batch)) {
    all = latent;
  } else {
    require(has_goal(), ErrorCategory::invalid_argument,
            "set_goal for some problems needs a first goal for all");
    all = task_.at(kGoal).index_copy(0, index_tensor(rows).to(latent.device()), latent);
  }
  task_.set(kGoal, all);
  for (const auto row : rows) plans_->request_plan(row);
}

void Mpc::Loop::set_task(std::string_view field, const Tensor& value) {
  require(value.defined() && value.dim() >= 1 && value.size(0) == options_.batch,
          ErrorCategory::invalid_argument,
          fmt::format("task field '{}' must have a first axis of B = {}", field, options_.batch));
  task_.set(field, value);
  for (const auto row : all_rows(options_.batch)) plans_->request_plan(row);
}

void Mpc::Loop::clear_goal() {
  Task rest(1);
  for (const auto& [name, value] : task_.fields())
    if (name != kGoal) rest.set(name, value);
  task_ = rest;
}

void Mpc::Loop::reset_rows(const std::vector<int64_t>& rows) {
  check_row_list(rows, options_.batch);
  ages_.resize(static_cast<std::size_t>(options_.batch));
  states_.resize(static_cast<std::size_t>(options_.batch));
  if (!last_action_.defined())
    last_action_ = at::full({options_.batch, space().dim}, std::nan(""), at::kFloat);
  for (const auto row : rows) {
    plans_->flush(row);
    forget(row);
    last_action_[row].fill_(std::nan(""));
  }
}

Decision Mpc::Loop::act(const Observation& observation, const Tensor& executed) {
  start_ = Clock::now();
  Decision decision;
  const auto batch = static_cast<std::size_t>(options_.batch);
  decision.statuses.assign(batch, Status::ok);
  decision.sources.assign(batch, ActionSource::plan);
  decision.message.clear();
  std::vector<bool> failed(batch, false);
  try {
    c10::NoGradGuard no_grad;
    decide(observation, executed, decision, failed);
  } catch (const std::exception& error) {
    fail_all(decision, failed, error.what());
  } catch (...) {
    fail_all(decision, failed, "an unknown exception");
  }
  try {
    answer(decision, failed);
  } catch (const std::exception& error) {
    fail_all(decision, failed, error.what());
    decision.sources.assign(batch, ActionSource::safe_action);
    decision.action = space().discrete ? safe_.argmax().expand({options_.batch, 1}).contiguous()
                                       : safe_.expand({options_.batch, -1}).contiguous();
  }
  decision.status = worst(decision.statuses);
  if (decision.message.empty()) decision.message = "ok";
  decision.total_seconds = seconds_since(start_);
  return decision;
}

std::optional<Clock::time_point> Mpc::Loop::deadline() const {
  if (options_.deadline_ms <= 0) return std::nullopt;
  return start_ + std::chrono::duration_cast<Clock::duration>(
                      std::chrono::duration<double, std::milli>(options_.deadline_ms));
}

Tensor Mpc::Loop::safe_action() const {
  const auto dim = space().dim;
  if (space().discrete) {
    const auto symbol = options_.safe_action.empty() ? 0.0 : options_.safe_action.front();
    require(symbol >= 0 && symbol < static_cast<double>(dim) && symbol == std::floor(symbol),
            ErrorCategory::invalid_option,
            fmt::format("MpcOptions.safe_action = {} must be a symbol 0..{}", symbol, dim - 1));
    auto row = at::zeros({dim}, at::kFloat);
    row[static_cast<int64_t>(symbol)] = 1.0;
    return row;
  }
  const auto row = options_.safe_action.empty()
                       ? at::zeros({dim}, at::kFloat)
                       : at::tensor(options_.safe_action, at::kDouble).to(at::kFloat);
  return within_limits(row);
}

Tensor Mpc::Loop::within_limits(const Tensor& raw) const {
  auto action = space().clamp_raw(raw);
  const auto step_inside = [&](const std::vector<double>& limits, bool upper) {
    auto* value = action.data_ptr<float>();
    for (int64_t i = 0; i < action.numel(); ++i) {
      const double limit = limits[static_cast<std::size_t>(i % space().dim)];
      if (upper ? static_cast<double>(value[i]) > limit : static_cast<double>(value[i]) < limit)
        value[i] = std::nextafter(value[i], upper ? -INFINITY : INFINITY);
    }
  };
  action = action.contiguous().clone();
  if (!space().low.empty()) step_inside(space().low, false);
  if (!space().high.empty()) step_inside(space().high, true);
  return action;
}

void Mpc::Loop::forget(int64_t row) {
  ages_[static_cast<std::size_t>(row)] = 0;
  states_[static_cast<std::size_t>(row)].assign(static_cast<std::size_t>(space().block / grid_),
                                                State());
  plans_->forget_history(row);
}

void Mpc::Loop::fail_all(Decision& decision, std::vector<bool>& failed, const std::string& why) {
  append(decision.message, "control step stopped: " + why);
  for (std::size_t b = 0; b < failed.size(); ++b) {
    failed[b] = true;
    decision.statuses[b] = Status::failed;
  }
}

void Mpc::Loop::fail_rows(Decision& decision, std::vector<bool>& failed,
                          const std::vector<int64_t>& rows, Status status) const {
  for (const auto row : rows) {
    failed[static_cast<std::size_t>(row)] = true;
    decision.statuses[static_cast<std::size_t>(row)] = status;
  }
}

std::vector<bool> Mpc::Loop::accept_observation(const Observation& observation,
                                                const Tensor& executed, Decision& decision) {
  std::vector<bool> usable(static_cast<std::size_t>(options_.batch), false);
  try {
    model_->spec().check(observation, options_.batch);
    usable = finite_rows(observation);
    if (std::find(usable.begin(), usable.end(), false) != usable.end())
      append(decision.message, "observation holds NaN or infinity");
    auto applied = last_action_;
    if (executed.defined()) {
      check_shape("executed", executed, {options_.batch, space().dim}, "[B,dim]");
      applied = executed.to(at::kCPU, at::kFloat);
      last_action_ = applied.clone();
    }
    plans_->record(observation, applied);
  } catch (const std::exception& error) {
    append(decision.message, std::string("observation rejected: ") + error.what());
    usable.assign(usable.size(), false);
  }
  for (std::size_t b = 0; b < usable.size(); ++b) {
    if (usable[b]) continue;
    decision.statuses[b] = Status::invalid_input;
    forget(static_cast<int64_t>(b));
  }
  return usable;
}

void Mpc::Loop::decide(const Observation& observation, const Tensor& executed, Decision& decision,
                       std::vector<bool>& failed) {
  const auto usable = accept_observation(observation, executed, decision);
  std::vector<int64_t> due, blind;
  for (const auto row : plans_->due())
    (usable[static_cast<std::size_t>(row)] ? due : blind).push_back(row);
  fail_rows(decision, failed, blind, Status::invalid_input);

  const auto begin = Clock::now();
  std::map<int64_t, State> states;
  if (options_.history_mode == HistoryMode::incremental) {
    try {
      states = observe_incrementally(observation, usable, due);
    } catch (const std::exception& error) {
      append(decision.message, std::string("observe() failed: ") + error.what());
      for (const auto row : all_rows(options_.batch)) forget(row);
      fail_rows(decision, failed, due, Status::failed);
      due.clear();
    }
  }
  decision.observe_seconds = seconds_since(begin);
  if (due.empty()) return;
  if (options_.history_mode == HistoryMode::window) {
    plan_window(due, decision, failed);
    return;
  }
  // Problems with equally long histories share a solve.
  std::map<int64_t, std::vector<int64_t>> groups;
  for (const auto row : due) groups[states.at(row).filled()].push_back(row);
  for (const auto& [filled, rows] : groups) {
    std::vector<State> parts;
    for (const auto row : rows) parts.push_back(states.at(row));
    plan_group(rows, parts.size() == 1 ? parts.front() : State::cat(parts), decision, failed);
  }
}

std::map<int64_t, State> Mpc::Loop::observe_incrementally(const Observation& observation,
                                                          const std::vector<bool>& usable,
                                                          const std::vector<int64_t>& due) {
  const auto block = space().block;
  std::map<int64_t, State> current;
  off_grid_.clear();
  // (phase, filled) -> rows that are observed in one call
  std::map<std::pair<int64_t, int64_t>, std::vector<int64_t>> groups;
  std::vector<int64_t> fresh;
  for (const auto row : all_rows(options_.batch)) {
    const auto b = static_cast<std::size_t>(row);
    if (!usable[b]) continue;
    const auto age = ages_[b]++;
    if (age % grid_ != 0) {
      // Off the grid (a goal changed, a plan failed): seen without a past.
      if (std::find(due.begin(), due.end(), row) != due.end()) fresh.push_back(row);
      continue;
    }
    const auto phase = (age % block) / grid_;
    const auto& before = states_[b][static_cast<std::size_t>(phase)];
    groups[{phase, before.empty() ? 0 : before.filled()}].push_back(row);
  }
  for (const auto& [key, rows] : groups) {
    const auto phase = static_cast<std::size_t>(key.first);
    std::vector<State> previous;
    for (const auto row : rows) {
      const auto& state = states_[static_cast<std::size_t>(row)][phase];
      if (!state.empty()) previous.push_back(state);
    }
    const auto after =
        previous.empty()
            ? observe(rows, model_->initial(static_cast<int64_t>(rows.size())), {}, observation)
            : observe(rows, previous.size() == 1 ? previous.front() : State::cat(previous),
                      plans_->last_block(rows), observation);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto own = after.narrow(static_cast<int64_t>(i), 1);
      states_[static_cast<std::size_t>(rows[i])][phase] = own;
      current[rows[i]] = own;
    }
  }
  if (!fresh.empty()) {
    const auto after =
        observe(fresh, model_->initial(static_cast<int64_t>(fresh.size())), {}, observation);
    for (std::size_t i = 0; i < fresh.size(); ++i)
      current[fresh[i]] = off_grid_[fresh[i]] = after.narrow(static_cast<int64_t>(i), 1);
  }
  return current;
}

State Mpc::Loop::observe(const std::vector<int64_t>& rows, const State& before, Tensor block,
                         const Observation& observation) {
  const bool whole = static_cast<int64_t>(rows.size()) == options_.batch;
  if (block.defined()) block = block.to(before.fields().front().second.device());
  return model_->observe(before, block,
                         whole ? observation : observation.select(index_tensor(rows)), noise_);
}

void Mpc::Loop::answer(Decision& decision, const std::vector<bool>& failed) {
  auto raw = plans_->next();
  for (int64_t b = 0; b < options_.batch; ++b) {
    const auto i = static_cast<std::size_t>(b);
    if (!raw[b].isfinite().all().item<bool>()) {
      raw[b].copy_(safe_);
      decision.sources[i] = ActionSource::safe_action;
      if (is_usable(decision.statuses[i])) decision.statuses[i] = Status::fell_back;
    } else if (failed[i]) {
      decision.sources[i] = ActionSource::previous_plan;
    }
  }
  if (space().discrete) {
    last_action_ = raw;
    decision.action = raw.argmax(1, /*keepdim=*/true);
    return;
  }
  if (!options_.max_step.empty()) {
    const auto step = at::tensor(options_.max_step, at::kDouble).to(at::kFloat);
    const auto known = last_action_.isfinite();
    const auto limited = at::clamp(raw, last_action_ - step, last_action_ + step);
    raw = at::where(known, limited, raw);
  }
  raw = within_limits(raw);
  last_action_ = raw.clone();
  decision.action = raw;
}

}  // namespace foresight
