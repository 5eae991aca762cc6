// SPDX-License-Identifier: Apache-2.0
// From an observation to the states that plans start from.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <tuple>

#include "foresight/core/error.hpp"
#include "mpc_loop.hpp"

namespace foresight {

using detail::all_rows;
using detail::append;
using detail::current_error;
using detail::finite_rows;
using detail::index_tensor;

std::vector<bool> Mpc::Loop::accept_observation(const Observation& observation,
                                                const Tensor& executed, Step& step) {
  const auto before = applied(executed, step);
  std::vector<bool> usable(step.failed.size(), false);
  auto fault = Fault::observation_rejected;
  try {
    model_->spec().check(observation, options_.batch);
    plans_->record(observation, before);
    usable = finite_rows(observation.fields());
    usable.resize(step.failed.size(), true);  // a model that needs no field at all
    fault = Fault::observation_non_finite;
    if (std::find(usable.begin(), usable.end(), false) != usable.end())
      append(step.decision.message, "observation holds NaN or infinity");
  } catch (...) {
    usable.assign(usable.size(), false);
    append(step.decision.message, "observation rejected: " + current_error());
  }
  for (const auto row : all_rows(options_.batch)) {
    if (usable[static_cast<std::size_t>(row)]) continue;
    step.blame(row, Status::invalid_input, fault);
    forget(row);
  }
  return usable;
}

Tensor Mpc::Loop::applied(const Tensor& executed, Step& step) {
  const bool at_once = options_.latency_steps == 0;
  const auto& assumed = at_once ? last_action_ : in_effect_;
  if (!executed.defined()) return assumed;
  try {
    const auto batch = options_.batch, dim = space().dim;
    const bool symbols = space().discrete && !executed.is_floating_point();
    check_shape("executed", executed, {batch, symbols ? 1 : dim}, symbols ? "[B,1]" : "[B,dim]");
    require(!executed.is_complex(), ErrorCategory::invalid_argument, "executed is complex");
    auto raw = executed.to(at::kCPU);
    if (symbols) {
      raw = raw.to(at::kLong).squeeze(1);
      require(raw.ge(0).logical_and(raw.lt(dim)).all().item<bool>(),
              ErrorCategory::invalid_argument,
              fmt::format("executed holds symbols outside 0..{}", dim - 1));
      raw = at::one_hot(raw, dim);
    }
    raw = raw.to(at::kFloat);
    const auto known = raw.isfinite();
    if (at_once) last_action_ = at::where(known, raw, last_action_);
    return raw.masked_fill(known.logical_not(), std::nan(""));
  } catch (...) {
    append(step.decision.message, "executed actions ignored: " + current_error());
    for (auto& fault : step.decision.faults) fault = Fault::executed_rejected;
    return assumed;
  }
}

void Mpc::Loop::take_in(const Observation& observation, const std::vector<bool>& usable,
                        Step& step) {
  off_grid_.clear();
  const auto due = plans_->due();
  // (phase, filled or -1 without a past) -> rows that are observed in one call
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
    const auto phase = (age % plans_->block_steps()) / grid_;
    const auto& before = states_[b][static_cast<std::size_t>(phase)];
    groups[{phase, before.empty() ? -1 : before.filled()}].push_back(row);
  }
  for (const auto& [key, rows] : groups) {
    const auto phase = static_cast<std::size_t>(key.first);
    std::vector<State> previous;
    for (const auto row : rows) {
      const auto& state = states_[static_cast<std::size_t>(row)][phase];
      if (!state.empty()) previous.push_back(state);
    }
    const auto before = previous.empty() ? State() : State::cat(previous);
    const auto block = previous.empty() ? Tensor() : plans_->last_block(rows);
    const auto seen = observe(rows, before, block, observation, step);
    if (monitor_ && !previous.empty()) judge(rows, before, seen);
    for (const auto& [row, state] : seen) states_[static_cast<std::size_t>(row)][phase] = state;
  }
  if (!fresh.empty()) off_grid_ = observe(fresh, State(), {}, observation, step);
}

std::map<int64_t, State> Mpc::Loop::observe(const std::vector<int64_t>& rows, const State& before,
                                            Tensor block, const Observation& observation,
                                            Step& step) {
  const auto count = static_cast<int64_t>(rows.size());
  std::map<int64_t, State> seen;
  try {
    const auto past = before.empty() ? model_->initial(count) : before;
    if (block.defined()) block = block.to(past.fields().front().second.device());
    const auto state = model_->observe(
        past, block, count == options_.batch ? observation : observation.select(index_tensor(rows)),
        noise_);
    const auto finite = finite_rows(state.fields());
    require(static_cast<int64_t>(finite.size()) == count, ErrorCategory::invalid_argument,
            fmt::format("observe() returned a batch of {}, expected {}", finite.size(), count));
    for (int64_t i = 0; i < count; ++i)
      if (finite[static_cast<std::size_t>(i)])
        seen[rows[static_cast<std::size_t>(i)]] = state.narrow(i, 1);
  } catch (...) {
    for (const auto row : rows) forget(row);
    step.blame(rows, Status::failed, Fault::observe_failed, "observe() failed: " + current_error());
    return {};
  }
  for (const auto row : rows) {
    if (seen.count(row) != 0) continue;
    forget(row);  // or a recurrent model would stay poisoned
    step.blame({row}, Status::non_finite, Fault::state_non_finite,
               fmt::format("observe() made NaN or infinity for problem {}", row));
  }
  return seen;
}

Mpc::Loop::Sight Mpc::Loop::sight_of(int64_t row) const {
  const auto b = static_cast<std::size_t>(row);
  if (options_.history_mode == HistoryMode::window)
    return {{}, plans_->frames_available(row, lag_) > 0 ? lag_ : 0};
  if (const auto seen = off_grid_.find(row); seen != off_grid_.end()) return {seen->second, 0};
  const auto age = ages_[b] - 1;
  const auto lag = age >= lag_ ? lag_ : 0;
  const auto phase = (age - lag) % plans_->block_steps() / grid_;
  return {states_[b][static_cast<std::size_t>(phase)], lag};
}

std::vector<Mpc::Loop::Group> Mpc::Loop::groups_of(const std::vector<int64_t>& due) const {
  std::map<std::tuple<int64_t, int64_t, bool>, std::vector<int64_t>> keyed;
  for (const auto row : due) {
    const auto sight = sight_of(row);
    keyed[{sight.state.filled(), sight.lag, previous_known(row)}].push_back(row);
  }
  std::vector<Group> groups;
  for (auto& [key, rows] : keyed) groups.push_back({std::move(rows), std::get<1>(key), {}});
  return groups;
}

State Mpc::Loop::start_of(Group& group, Step& step) {
  const bool windowed = options_.history_mode == HistoryMode::window;
  try {
    State state;
    if (windowed) {
      state = window_state(group);
    } else {
      std::vector<State> parts;
      for (const auto row : group.rows) parts.push_back(sight_of(row).state);
      state = parts.size() == 1 ? parts.front() : State::cat(parts);
    }
    state = advanced(group, std::move(state));
    if (!windowed && options_.latency_steps == 0) return state;  // checked when it was observed
    const auto finite = finite_rows(state.fields());
    require(finite.size() == group.rows.size(), ErrorCategory::invalid_argument,
            "the model returned a state of another batch");
    std::vector<int64_t> places, kept;
    for (std::size_t i = 0; i < finite.size(); ++i) {
      const auto row = group.rows[i];
      if (finite[i]) {
        places.push_back(static_cast<int64_t>(i));
        kept.push_back(row);
        continue;
      }
      forget(row);
      step.failed[static_cast<std::size_t>(row)] = true;
      step.blame({row}, Status::non_finite, Fault::state_non_finite,
                 fmt::format("the state of problem {} holds NaN or infinity", row));
    }
    if (kept.size() == group.rows.size() || kept.empty()) {
      group.rows = std::move(kept);
      return state;
    }
    group.rows = std::move(kept);
    return state.select(index_tensor(places));
  } catch (...) {
    for (const auto row : group.rows) {
      forget(row);
      step.failed[static_cast<std::size_t>(row)] = true;
    }
    step.blame(group.rows, Status::failed, Fault::observe_failed,
               "observe() failed: " + current_error());
    group.rows.clear();
    return {};
  }
}

State Mpc::Loop::window_state(const Group& group) {
  const auto window = plans_->window(group.rows, group.lag);
  auto state = model_->initial(static_cast<int64_t>(group.rows.size()));
  for (std::size_t i = 0; i < window.frames.size(); ++i) {
    auto block = i == 0 ? Tensor() : window.blocks[i - 1];
    if (block.defined()) block = block.to(state.fields().front().second.device());
    auto next = model_->observe(state, block, window.frames[i], noise_);
    if (monitor_ && i > 0 && i + 1 == window.frames.size())
      judge(group.rows, state, next, group.lag);
    state = std::move(next);
  }
  return state;
}

State Mpc::Loop::advanced(const Group& group, State state) {
  const auto block_steps = plans_->block_steps();
  const auto blocks = (group.lag + options_.latency_steps) / block_steps;
  if (blocks == 0) return state;
  auto path = committed_.index_select(0, index_tensor(group.rows));
  if (group.lag > 0) path = at::cat({plans_->executed(group.rows, group.lag), path}, 1);
  const auto device = state.fields().front().second.device();
  for (int64_t i = 0; i < blocks; ++i) {
    const auto block = plans_->as_block(path.narrow(1, i * block_steps, block_steps));
    state = model_->step(state, block.to(device), noise_).next;
  }
  return state;
}

void Mpc::Loop::forget(int64_t row) {
  ages_[static_cast<std::size_t>(row)] = 0;
  states_[static_cast<std::size_t>(row)].assign(
      static_cast<std::size_t>(plans_->block_steps() / grid_), State());
  plans_->forget_history(row);
}

}  // namespace foresight
