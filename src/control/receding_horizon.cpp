// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/receding_horizon.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

Tensor row_index(const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong); }

bool skipped(const std::vector<bool>& skip, std::size_t row) {
  return row < skip.size() && skip[row];
}

// [block,steps]: how much of raw action i each control step is. Action i lasts from step i * r to
// (i + 1) * r with r = steps / block.
Tensor shares(int64_t block, int64_t steps) {
  auto result = at::zeros({block, steps}, at::kFloat);
  auto* share = result.data_ptr<float>();
  const double ratio = static_cast<double>(steps) / static_cast<double>(block);
  for (int64_t i = 0; i < block; ++i)
    for (int64_t k = 0; k < steps; ++k) {
      const double from = std::max(static_cast<double>(i) * ratio, static_cast<double>(k));
      const double to = std::min(static_cast<double>(i + 1) * ratio, static_cast<double>(k + 1));
      share[i * steps + k] = static_cast<float>(std::max(0.0, to - from) / ratio);
    }
  return result;
}

// (1 - f) early + f late for `fraction` [rows].
WarmStart blend(const WarmStart& early, const WarmStart& late, const Tensor& fraction) {
  const auto between = [&](const Tensor& from, const Tensor& to) {
    std::vector<int64_t> view(static_cast<std::size_t>(from.dim()), 1);
    view[0] = -1;
    return at::lerp(from, to, fraction.to(from.options()).view(view));
  };
  WarmStart result;
  result.mean = between(early.mean, late.mean);
  for (std::size_t i = 0; i < early.memory.size(); ++i) {
    const auto& [name, value] = early.memory[i];
    result.memory.emplace_back(
        name, value.is_floating_point() ? between(value, late.memory[i].second) : value);
  }
  return result;
}

}  // namespace

std::vector<std::string> RecedingHorizonOptions::validate() const {
  return Rules("RecedingHorizonOptions")
      .at_least("horizon", horizon, 1)
      .at_least("replan_steps", replan_steps, 0)
      .at_least("history", history, 1)
      .within("steps_per_action", steps_per_action, 1, 1e6)
      .at_least("lag", lag, 0)
      .problems();
}

RecedingHorizon::RecedingHorizon(RecedingHorizonOptions options, ActionSpace space, int64_t batch)
    : options_(options), space_(std::move(space)) {
  require_valid(options_);
  require_valid(space_);
  require(batch >= 1, ErrorCategory::invalid_argument,
          fmt::format("RecedingHorizon: batch = {} must be >= 1", batch));
  const double lasts = static_cast<double>(space_.block) * options_.steps_per_action;
  block_steps_ = std::llround(lasts);
  require(std::abs(lasts - static_cast<double>(block_steps_)) < 1e-6, ErrorCategory::invalid_option,
          fmt::format("RecedingHorizonOptions.steps_per_action = {} times block = {} must be a "
                      "whole number of control steps",
                      options_.steps_per_action, space_.block));
  require(!space_.discrete || options_.interpolation == Interpolation::hold,
          ErrorCategory::invalid_option,
          "RecedingHorizonOptions.interpolation must be hold for discrete actions");
  const auto steps = options_.horizon * block_steps_;
  require(options_.replan_steps <= steps, ErrorCategory::invalid_option,
          fmt::format("RecedingHorizonOptions.replan_steps = {} must be <= the plan's {} steps",
                      options_.replan_steps, steps));
  if (options_.replan_steps == 0) options_.replan_steps = steps;
  rows_.resize(static_cast<std::size_t>(batch));
  queue_ = at::full({batch, steps, space_.dim}, std::nan(""), at::kFloat);
  if (block_steps_ != space_.block) mean_ = shares(space_.block, block_steps_);
}

void RecedingHorizon::check_rows(const std::vector<int64_t>& rows) const {
  require(!rows.empty(), ErrorCategory::invalid_argument, "RecedingHorizon: no rows given");
  for (const auto row : rows)
    require(row >= 0 && row < static_cast<int64_t>(rows_.size()), ErrorCategory::invalid_argument,
            fmt::format("RecedingHorizon: row {} is out of range 0..{}", row, rows_.size() - 1));
}

void RecedingHorizon::flush(int64_t row) {
  check_rows({row});
  rows_[static_cast<std::size_t>(row)] = Row{};
  // Nothing of the last episode stays; what the row starts from then is the planner's to say.
  if (last_.mean.defined()) last_.mean[row].zero_();
  for (auto& [name, tensor] : last_.memory) tensor[row].zero_();
}

void RecedingHorizon::forget_history(int64_t row) {
  check_rows({row});
  rows_[static_cast<std::size_t>(row)].seen = 0;
}

void RecedingHorizon::request_plan(int64_t row) {
  check_rows({row});
  rows_[static_cast<std::size_t>(row)].due = true;
}

void RecedingHorizon::record(const Observation& observation, const Tensor& executed) {
  const auto batch = static_cast<int64_t>(rows_.size());
  require(observation.batch() == batch, ErrorCategory::invalid_argument,
          fmt::format("observation has batch {}, expected {}", observation.batch(), batch));
  check_shape("executed", executed, {batch, space_.dim}, "[B,dim]");
  // Copies: a camera driver may write the next picture into the same memory.
  if (options_.history > 1 || options_.lag > 0) {
    Observation copy;
    for (const auto& [name, value] : observation.fields()) copy.set(name, value.clone());
    frames_.push_back(std::move(copy));
  } else {
    frames_.push_back(observation);
  }
  executed_.push_back(
      executed.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true));
  const auto kept =
      static_cast<std::size_t>((options_.history - 1) * block_steps_ + options_.lag + 1);
  while (frames_.size() > kept) frames_.pop_front();
  while (executed_.size() > std::max(kept, static_cast<std::size_t>(block_steps_)))
    executed_.pop_front();
  for (auto& row : rows_) ++row.seen;
}

std::vector<int64_t> RecedingHorizon::due(const std::vector<bool>& skip) const {
  std::vector<int64_t> result;
  for (std::size_t b = 0; b < rows_.size(); ++b)
    if (rows_[b].due && !skipped(skip, b)) result.push_back(static_cast<int64_t>(b));
  return result;
}

void RecedingHorizon::check_lag(int64_t lag) const {
  require(lag >= 0 && lag <= options_.lag, ErrorCategory::invalid_argument,
          fmt::format("RecedingHorizon: lag = {} is out of range 0..{}", lag, options_.lag));
}

int64_t RecedingHorizon::frames_available(int64_t row, int64_t lag) const {
  check_rows({row});
  check_lag(lag);
  const auto seen = rows_[static_cast<std::size_t>(row)].seen - lag;
  return seen <= 0 ? 0 : std::min(options_.history, 1 + (seen - 1) / block_steps_);
}

ObservationWindow RecedingHorizon::window(const std::vector<int64_t>& rows, int64_t lag) const {
  check_rows(rows);
  int64_t count = 0;
  std::vector<int64_t> available;
  for (const auto row : rows) {
    available.push_back(frames_available(row, lag));
    require(available.back() > 0, ErrorCategory::invalid_argument,
            fmt::format("RecedingHorizon: row {} has no observation", row));
    count = std::max(count, available.back());
  }
  const auto newest = static_cast<int64_t>(frames_.size()) - 1 - lag;
  ObservationWindow window;
  for (int64_t i = 0; i < count; ++i) {
    // Age of frame i in blocks, limited per row to the oldest one that it has.
    Observation frame;
    const auto age = count - 1 - i;
    const bool full =
        std::all_of(available.begin(), available.end(), [&](int64_t have) { return age < have; });
    const auto source = [&](int64_t blocks) -> const Observation& {
      return frames_[static_cast<std::size_t>(newest - blocks * block_steps_)];
    };
    if (full) {
      frame = source(age).select(row_index(rows));
    } else {
      for (const auto& [name, unused] : frames_.back().fields()) {
        std::vector<Tensor> parts;
        for (std::size_t r = 0; r < rows.size(); ++r)
          parts.push_back(source(std::min(age, available[r] - 1)).at(name)[rows[r]]);
        frame.set(name, at::stack(parts));
      }
    }
    window.frames.push_back(std::move(frame));
  }
  for (int64_t i = 0; i + 1 < count; ++i) {
    const auto age = count - 2 - i;  // this block ends at the frame that is `age` blocks old
    const auto until = lag + age * block_steps_;
    auto actions = as_block(executed(rows, until + block_steps_).narrow(1, 0, block_steps_));
    for (std::size_t r = 0; r < rows.size(); ++r)
      if (age + 1 >= available[r]) actions[static_cast<int64_t>(r)].zero_();
    window.blocks.push_back(actions);
  }
  return window;
}

Tensor RecedingHorizon::executed(const std::vector<int64_t>& rows, int64_t steps) const {
  check_rows(rows);
  require(steps >= 1 && steps <= static_cast<int64_t>(executed_.size()),
          ErrorCategory::invalid_argument,
          fmt::format("RecedingHorizon: the last {} commands are asked for, {} are kept", steps,
                      executed_.size()));
  const std::vector<Tensor> last(executed_.end() - static_cast<std::ptrdiff_t>(steps),
                                 executed_.end());
  return at::stack(last, 1).index_select(0, row_index(rows));
}

Tensor RecedingHorizon::as_block(const Tensor& commands) const {
  check_shape("commands", commands, {kAny, block_steps_, space_.dim}, "[rows,G,dim]");
  if (!mean_.defined()) return space_.normalise(commands);
  const auto raw = at::matmul(mean_.to(commands.options()), commands);
  if (!space_.discrete) return space_.normalise(raw);
  return space_.normalise(at::one_hot(raw.argmax(-1), space_.dim).to(raw.scalar_type()));
}

Tensor RecedingHorizon::last_block(const std::vector<int64_t>& rows) const {
  return as_block(executed(rows, block_steps_));
}

WarmStart RecedingHorizon::warm_start(const std::vector<int64_t>& rows,
                                      const Planner& planner) const {
  check_rows(rows);
  const auto is_planned = [&](const Row& row) { return row.planned; };
  if (!options_.warm_start || std::none_of(rows_.begin(), rows_.end(), is_planned)) return {};
  // Rows without a plan go with the others, so that equal shifts stay equal, and are renewed then.
  std::vector<int64_t> steps(rows.size(), options_.replan_steps), places;
  for (const auto row : rows)
    if (const auto& entry = rows_[static_cast<std::size_t>(row)]; entry.planned) {
      std::fill(steps.begin(), steps.end(), entry.taken);
      break;
    }
  for (std::size_t r = 0; r < rows.size(); ++r)
    if (const auto& entry = rows_[static_cast<std::size_t>(rows[r])]; entry.planned)
      steps[r] = entry.taken;
    else
      places.push_back(static_cast<int64_t>(r));
  auto left = last_.select(row_index(rows));
  if (places.size() == rows.size()) left.memory.clear();
  auto next = advanced(left, steps, planner);
  if (!next.mean.defined()) return {};
  if (!places.empty()) renew(next, places, planner);
  return next;
}

WarmStart RecedingHorizon::advanced(const WarmStart& left, const std::vector<int64_t>& steps,
                                    const Planner& planner) const {
  std::vector<int64_t> whole;
  std::vector<double> fractions;
  for (const auto taken : steps) {
    whole.push_back(taken * space_.block / block_steps_);
    fractions.push_back(static_cast<double>(taken * space_.block % block_steps_) /
                        static_cast<double>(block_steps_));
  }
  if (std::all_of(fractions.begin(), fractions.end(), [](double f) { return f == 0; }))
    return planner.advance(left, whole, space_.block);
  // Advancing is linear in the plan, so a fraction of a raw action is a blend of two whole shifts.
  // Both in one call, because shifts that differ come back at full length, the ends filled in by
  // the planner's own rule.
  const auto count = static_cast<int64_t>(steps.size());
  for (int64_t r = 0; r < count; ++r) whole.push_back(whole[static_cast<std::size_t>(r)] + 1);
  const auto index = at::arange(count, at::kLong);
  const auto both = planner.advance(left.select(at::cat({index, index})), whole, space_.block);
  if (!both.mean.defined()) return {};
  return blend(both.select(index), both.select(index + count), at::tensor(fractions));
}

void RecedingHorizon::renew(WarmStart& next, const std::vector<int64_t>& places,
                            const Planner& planner) const {
  // A plan that ended long ago; beside one that did not, so that the row comes back.
  const auto beyond = options_.horizon * space_.block + 1;
  const auto fresh =
      planner.advance(last_.select(at::zeros({2}, at::kLong)), {0, beyond}, space_.block);
  const auto put = [&](Tensor& target, const Tensor& pair) {
    auto row = pair.defined() ? pair.narrow(0, 1, 1) : Tensor();
    if (row.defined() && row.dim() == target.dim() && row.dim() > 1 && row.size(1) > target.size(1))
      row = row.narrow(1, 0, target.size(1));  // the planner fills in the rest
    auto shape = target.sizes().vec();
    shape[0] = 1;
    const bool fits = row.defined() && row.sizes() == at::IntArrayRef(shape);
    for (const auto place : places) {
      if (fits)
        target[place].copy_(row[0]);
      else
        target[place].zero_();
    }
  };
  put(next.mean, fresh.mean);
  for (auto& [name, value] : next.memory) put(value, find_term(fresh.memory, name));
}

void RecedingHorizon::store(const std::vector<int64_t>& rows, const Plan& plan) {
  const auto batch = static_cast<int64_t>(rows_.size());
  const auto index = row_index(rows);
  const auto put = [&](Tensor& target, const Tensor& value) {
    auto shape = value.sizes().vec();
    shape[0] = batch;
    if (!target.defined() || target.sizes() != at::IntArrayRef(shape) ||
        target.device() != value.device())
      target = at::zeros(shape, value.options());
    target.index_copy_(0, index.to(value.device()), value.detach());
  };
  put(last_.mean, plan.warm_start.mean.defined() ? plan.warm_start.mean : plan.actions);
  Terms memory;
  for (const auto& [name, value] : plan.warm_start.memory) {
    auto kept = find_term(last_.memory, name);
    put(kept, value);
    memory.emplace_back(name, kept);
  }
  last_.memory = std::move(memory);
}

Tensor RecedingHorizon::commands(const Tensor& raw, const Tensor& previous) const {
  if (!mean_.defined()) return raw;
  const auto block = space_.block, count = raw.size(1) / block * block_steps_;
  auto from = at::empty({count}, at::kLong), share = at::empty({count}, at::kFloat);
  for (int64_t k = 0; k < count; ++k) {
    // Position in the plan times G: where step k begins (hold), or where it ends, counted from the
    // command before the plan (linear).
    const bool hold = options_.interpolation == Interpolation::hold;
    const auto position = (hold ? k : k + 1) * block;
    from.data_ptr<int64_t>()[k] = position / block_steps_;
    share.data_ptr<float>()[k] =
        hold ? 0.0F
             : static_cast<float>(position % block_steps_) / static_cast<float>(block_steps_);
  }
  if (options_.interpolation == Interpolation::hold) return raw.index_select(1, from);
  const auto first = raw.select(1, 0);
  const auto start = previous.defined() ? at::where(previous.isfinite(), previous, first) : first;
  const auto path = at::cat({start.unsqueeze(1), raw}, 1);  // [rows,1+H*block,dim]
  const auto to = (from + 1).clamp_max(path.size(1) - 1);
  return at::lerp(path.index_select(1, from), path.index_select(1, to), share.view({-1, 1}));
}

void RecedingHorizon::accept(const std::vector<int64_t>& rows, const Plan& plan,
                             const Tensor& previous) {
  check_rows(rows);
  const auto count = static_cast<int64_t>(rows.size());
  check_shape("plan.actions", plan.actions, {count, options_.horizon, space_.width()}, "[B,H,A]");
  if (previous.defined()) check_shape("previous", previous, {count, space_.dim}, "[rows,dim]");
  const auto raw = space_.denormalise(plan.actions.detach().to(at::kCPU))
                       .flatten(1, 2)
                       .to(at::kFloat);  // [rows,H*block,dim]
  const auto sent = commands(raw, previous);
  store(rows, plan);  // first: a plan whose warm start does not fit is not executed either
  queue_.index_copy_(0, row_index(rows), sent);
  for (const auto b : rows) {
    auto& row = rows_[static_cast<std::size_t>(b)];
    row.cursor = row.taken = 0;
    row.queued = row.planned = true;
    row.due = false;
  }
}

int64_t RecedingHorizon::remaining(int64_t row) const {
  check_rows({row});
  const auto& entry = rows_[static_cast<std::size_t>(row)];
  return entry.queued ? queue_.size(1) - entry.cursor : 0;
}

Tensor RecedingHorizon::next(const std::vector<bool>& skip) {
  const auto batch = static_cast<int64_t>(rows_.size());
  auto actions = at::full({batch, space_.dim}, std::nan(""), at::kFloat);
  for (int64_t b = 0; b < batch; ++b) {
    auto& row = rows_[static_cast<std::size_t>(b)];
    if (skipped(skip, static_cast<std::size_t>(b)) || remaining(b) == 0) continue;
    actions[b].copy_(queue_[b][row.cursor]);
    ++row.cursor;
    ++row.taken;
    if (row.cursor >= options_.replan_steps) row.due = true;
  }
  return actions;
}

Tensor RecedingHorizon::queued() const {
  const auto batch = static_cast<int64_t>(rows_.size());
  int64_t most = 0;
  for (int64_t b = 0; b < batch; ++b) most = std::max(most, remaining(b));
  auto left = at::full({batch, most, space_.dim}, std::nan(""), at::kFloat);
  for (int64_t b = 0; b < batch; ++b)
    if (const auto count = remaining(b); count > 0)
      left[b]
          .narrow(0, 0, count)
          .copy_(queue_[b].narrow(0, rows_[static_cast<std::size_t>(b)].cursor, count));
  return left;
}

}  // namespace foresight
