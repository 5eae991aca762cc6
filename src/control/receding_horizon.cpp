// SPDX-License-Identifier: Apache-2.0
#include "foresight/control/receding_horizon.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "foresight/core/error.hpp"

namespace foresight {
namespace {

Tensor index_tensor(const std::vector<int64_t>& rows) { return at::tensor(rows, at::kLong); }

bool skipped(const std::vector<bool>& skip, std::size_t row) {
  return row < skip.size() && skip[row];
}

}  // namespace

std::vector<std::string> RecedingHorizonOptions::validate() const {
  Rules rules("RecedingHorizonOptions");
  rules.check(horizon >= 1, "horizon", static_cast<double>(horizon), "must be >= 1");
  rules.check(replan_steps >= 0, "replan_steps", static_cast<double>(replan_steps), "must be >= 0");
  rules.check(history >= 1, "history", static_cast<double>(history), "must be >= 1");
  return rules.problems();
}

RecedingHorizon::RecedingHorizon(RecedingHorizonOptions options, ActionSpace space, int64_t batch)
    : options_(options), space_(std::move(space)) {
  require_valid(options_);
  require_valid(space_);
  require(batch >= 1, ErrorCategory::invalid_argument,
          fmt::format("RecedingHorizon: batch = {} must be >= 1", batch));
  const auto steps = options_.horizon * space_.block;
  require(options_.replan_steps <= steps, ErrorCategory::invalid_option,
          fmt::format("RecedingHorizonOptions.replan_steps = {} must be <= horizon * block = {}",
                      options_.replan_steps, steps));
  if (options_.replan_steps == 0) options_.replan_steps = steps;
  rows_.resize(static_cast<std::size_t>(batch));
  queue_ = at::full({batch, steps, space_.dim}, std::nan(""), at::kFloat);
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
  if (options_.history > 1) {
    Observation copy;
    for (const auto& [name, value] : observation.fields()) copy.set(name, value.clone());
    frames_.push_back(std::move(copy));
  } else {
    frames_.push_back(observation);
  }
  executed_.push_back(
      executed.detach().to(at::kCPU, at::kFloat, /*non_blocking=*/false, /*copy=*/true));
  const auto kept = static_cast<std::size_t>((options_.history - 1) * space_.block + 1);
  while (frames_.size() > kept) frames_.pop_front();
  while (executed_.size() > std::max(kept, static_cast<std::size_t>(space_.block)))
    executed_.pop_front();
  for (auto& row : rows_) ++row.seen;
}

std::vector<int64_t> RecedingHorizon::due(const std::vector<bool>& skip) const {
  std::vector<int64_t> result;
  for (std::size_t b = 0; b < rows_.size(); ++b)
    if (rows_[b].due && !skipped(skip, b)) result.push_back(static_cast<int64_t>(b));
  return result;
}

int64_t RecedingHorizon::frames_available(int64_t row) const {
  check_rows({row});
  const auto seen = rows_[static_cast<std::size_t>(row)].seen;
  return seen == 0 ? 0 : std::min(options_.history, 1 + (seen - 1) / space_.block);
}

ObservationWindow RecedingHorizon::window(const std::vector<int64_t>& rows) const {
  check_rows(rows);
  int64_t count = 0;
  std::vector<int64_t> available;
  for (const auto row : rows) {
    available.push_back(frames_available(row));
    require(available.back() > 0, ErrorCategory::invalid_argument,
            fmt::format("RecedingHorizon: row {} has no observation", row));
    count = std::max(count, available.back());
  }
  const auto block = space_.block;
  const auto newest = static_cast<int64_t>(frames_.size()) - 1;
  ObservationWindow window;
  for (int64_t i = 0; i < count; ++i) {
    // Age of frame i in blocks, limited per row to the oldest one that it has.
    Observation frame;
    const auto age = count - 1 - i;
    const bool full =
        std::all_of(available.begin(), available.end(), [&](int64_t have) { return age < have; });
    const auto source = [&](int64_t blocks) -> const Observation& {
      return frames_[static_cast<std::size_t>(newest - blocks * block)];
    };
    if (full) {
      frame = source(age).select(index_tensor(rows));
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
  const auto last = static_cast<int64_t>(executed_.size()) - 1;
  for (int64_t i = 0; i + 1 < count; ++i) {
    const auto age = count - 2 - i;  // this block ends at the frame that is `age` blocks old
    std::vector<Tensor> steps;
    for (int64_t k = 0; k < block; ++k)
      steps.push_back(executed_[static_cast<std::size_t>(last - age * block - (block - 1 - k))]);
    auto actions = space_.normalise(at::stack(steps, 1).index_select(0, index_tensor(rows)));
    for (std::size_t r = 0; r < rows.size(); ++r)
      if (age + 1 >= available[r]) actions[static_cast<int64_t>(r)].zero_();
    window.blocks.push_back(actions);
  }
  return window;
}

Tensor RecedingHorizon::last_block(const std::vector<int64_t>& rows) const {
  check_rows(rows);
  const auto block = static_cast<std::size_t>(space_.block);
  require(
      executed_.size() >= block, ErrorCategory::invalid_argument,
      fmt::format("RecedingHorizon: {} steps recorded, a block needs {}", executed_.size(), block));
  const std::vector<Tensor> steps(executed_.end() - static_cast<std::ptrdiff_t>(block),
                                  executed_.end());
  return space_.normalise(at::stack(steps, 1).index_select(0, index_tensor(rows)));
}

WarmStart RecedingHorizon::warm_start(const std::vector<int64_t>& rows,
                                      const Planner& planner) const {
  check_rows(rows);
  const auto is_planned = [&](const Row& row) { return row.planned; };
  if (!options_.warm_start || std::none_of(rows_.begin(), rows_.end(), is_planned)) return {};
  // Rows without a plan are zero at any shift; they follow the others so that equal shifts stay
  // equal.
  std::vector<int64_t> steps(rows.size(), options_.replan_steps);
  for (const auto row : rows)
    if (const auto& entry = rows_[static_cast<std::size_t>(row)]; entry.planned) {
      std::fill(steps.begin(), steps.end(), entry.taken);
      break;
    }
  for (std::size_t r = 0; r < rows.size(); ++r)
    if (const auto& entry = rows_[static_cast<std::size_t>(rows[r])]; entry.planned)
      steps[r] = entry.taken;
  auto left = last_.select(index_tensor(rows));
  const bool any_own = std::any_of(rows.begin(), rows.end(), [&](int64_t row) {
    return rows_[static_cast<std::size_t>(row)].planned;
  });
  if (!any_own) left.memory.clear();
  auto next = planner.advance(left, steps, space_.block);
  if (!next.mean.defined()) return {};
  return next;
}

void RecedingHorizon::store(const std::vector<int64_t>& rows, const Plan& plan) {
  const auto batch = static_cast<int64_t>(rows_.size());
  const auto index = index_tensor(rows);
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

void RecedingHorizon::accept(const std::vector<int64_t>& rows, const Plan& plan) {
  check_rows(rows);
  check_shape("plan.actions", plan.actions,
              {static_cast<int64_t>(rows.size()), options_.horizon, space_.width()}, "[B,H,A]");
  const auto raw = space_.denormalise(plan.actions.detach())
                       .flatten(1, 2)
                       .to(at::kCPU, at::kFloat);  // [rows,H*block,dim]
  queue_.index_copy_(0, index_tensor(rows), raw);
  store(rows, plan);
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

}  // namespace foresight
