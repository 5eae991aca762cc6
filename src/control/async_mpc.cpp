// SPDX-License-Identifier: Apache-2.0
// Options, and what callers hand over.
#include "foresight/control/async_mpc.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "async_mpc_worker.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/without_gradients.hpp"
#include "mpc_loop.hpp"

namespace foresight {
namespace {

// A driver may write the next picture into the same memory.
Observation copy_of(const Observation& observation) {
  Observation copy;
  for (const auto& [name, value] : observation.fields()) copy.set(name, value.clone());
  return copy;
}

}  // namespace

std::vector<std::string> AsyncMpcOptions::validate() const {
  return Rules("AsyncMpcOptions")
      .check(std::isfinite(period) && period > 0, "period", period, "must be positive")
      .check(std::isfinite(max_age) && max_age >= period, "max_age", max_age,
             fmt::format("must be >= period = {}", period))
      .check(std::isfinite(coast) && coast >= 0, "coast", coast, "must be >= 0")
      .check(kept >= -1, "kept", static_cast<double>(kept), "must be >= -1")
      .problems();
}

AsyncMpc::AsyncMpc(Mpc mpc, AsyncMpcOptions options,
                   std::function<Problem::Clock::time_point()> now)
    : worker_(std::make_unique<Worker>(std::move(mpc), options, std::move(now))) {}
AsyncMpc::~AsyncMpc() = default;
AsyncMpc::AsyncMpc(AsyncMpc&&) noexcept = default;
AsyncMpc& AsyncMpc::operator=(AsyncMpc&&) noexcept = default;

void AsyncMpc::observe(const Observation& observation, double time,
                       const Tensor& executed) noexcept {
  worker_->observe(observation, time, executed);
}
AsyncDecision AsyncMpc::action(double time) noexcept { return worker_->action(time); }
void AsyncMpc::set_goal(const Observation& goal) { worker_->set_goal(goal, worker_->all_rows()); }
void AsyncMpc::set_goal(const Observation& goal, const std::vector<int64_t>& rows) {
  worker_->set_goal(goal, rows);
}
void AsyncMpc::set_task(std::string_view field, const Tensor& value) {
  worker_->set_task(field, value);
}
void AsyncMpc::set_pinned(const Tensor& pinned) { worker_->set_pinned(pinned); }
void AsyncMpc::reset() { worker_->reset(worker_->all_rows()); }
void AsyncMpc::reset(const std::vector<int64_t>& rows) { worker_->reset(rows); }
AsyncPlan AsyncMpc::plan(int64_t row) const { return worker_->plan(row); }
bool AsyncMpc::wait_idle(double seconds) { return worker_->wait_idle(seconds); }
void AsyncMpc::stop() noexcept { worker_->stop(); }
AsyncStatistics AsyncMpc::statistics() const { return worker_->statistics(); }
const AsyncMpcOptions& AsyncMpc::options() const noexcept { return worker_->options(); }
const MpcOptions& AsyncMpc::mpc_options() const noexcept { return worker_->mpc_options(); }

AsyncMpc::Worker::Worker(Mpc mpc, AsyncMpcOptions options,
                         std::function<Problem::Clock::time_point()> now)
    : mpc_(std::move(mpc)),
      options_(options),
      mpc_options_(mpc_.options()),
      spec_(mpc_.spec()),
      limits_(spec_.action, mpc_options_.max_step),
      now_(std::move(now)) {
  require_valid(options_);
  WithoutGradients no_gradients;
  const auto& space = spec_.action;
  const auto block = std::llround(static_cast<double>(space.block) * mpc_options_.steps_per_action);
  latency_ = static_cast<double>(mpc_options_.latency_steps) * options_.period;
  plan_steps_ = mpc_options_.horizon * block;
  if (options_.kept < 0) {
    const bool window = mpc_options_.history_mode == HistoryMode::window;
    const auto history = window && mpc_options_.history > 0 ? mpc_options_.history : spec_.history;
    // The observation that a plan for a later moment starts from may be older than the newest, and
    // a transition to judge needs one that is a block older.
    const auto lag = (block - mpc_options_.latency_steps % block) % block;
    options_.kept = std::max((history - 1) * block + lag, mpc_.watched() ? block : 0);
  }
  const auto batch = mpc_options_.batch;
  const auto& safe = mpc_options_.safe_action;
  if (space.discrete) {
    safe_ = at::full({1}, safe.empty() ? 0.0 : safe.front(), at::kLong);
    last_ = at::full({batch, 1}, -1, at::kLong);
  } else {
    const auto raw = safe.empty() ? at::zeros({space.dim}) : at::tensor(safe, at::kDouble);
    safe_ = limits_.apply(raw.unsqueeze(0))[0];
    last_ = at::full({batch, space.dim}, std::nan(""), at::kFloat);
  }
  emergency_ = safe_.expand({batch, -1}).contiguous();
  slots_.resize(static_cast<std::size_t>(batch));
  thread_ = std::thread([this] { run(); });
}

AsyncMpc::Worker::~Worker() { stop(); }

std::vector<int64_t> AsyncMpc::Worker::all_rows() const {
  std::vector<int64_t> rows;
  for (int64_t row = 0; row < mpc_options_.batch; ++row) rows.push_back(row);
  return rows;
}

std::vector<int64_t> AsyncMpc::Worker::checked(std::vector<int64_t> rows) const {
  for (const auto row : rows)
    require(row >= 0 && row < mpc_options_.batch, ErrorCategory::invalid_argument,
            fmt::format("AsyncMpc: row {} is out of range 0..{}", row, mpc_options_.batch - 1));
  return rows;
}

void AsyncMpc::Worker::observe(const Observation& observation, double time,
                               const Tensor& executed) {
  WithoutGradients no_gradients;
  try {
    Event event;
    event.observation = copy_of(observation);
    event.time = time;
    if (executed.defined()) event.executed = executed.clone();
    std::lock_guard lock(mutex_);
    ++statistics_.observations;
    if (stopping_ || !std::isfinite(time)) {
      ++statistics_.rejected;
      return;
    }
    if (!event.executed.defined()) event.executed = answer_before(time);
    drop_superseded(time);
    push(std::move(event));
  } catch (...) {  // no memory for the copy
    std::lock_guard lock(mutex_);
    ++statistics_.rejected;
  }
}

// What was in effect while the world became what it was at `time`: not the newest answer where an
// observation comes late.
Tensor AsyncMpc::Worker::answer_before(double time) const {
  const auto before = std::find_if(answers_.rbegin(), answers_.rend(), [&](const Answer& answer) {
    return answer.time < time - options_.period / 2;
  });
  const bool known = before != answers_.rend();
  if (!spec_.action.discrete)
    return known ? before->action.clone() : at::full_like(last_, std::nan(""));
  // Symbols are known for all problems or not told.
  return known && before->action.ge(0).all().item<bool>() ? before->action.clone() : Tensor();
}

void AsyncMpc::Worker::drop_superseded(double time) {
  const auto is_observation = [](const Event& event) {
    return event.kind == Event::Kind::observation;
  };
  auto waiting = std::count_if(events_.begin(), events_.end(), is_observation);
  // An observation of the same control step replaces its predecessor, whatever is kept.
  const auto newest = std::find_if(events_.rbegin(), events_.rend(), is_observation);
  if (newest != events_.rend() && std::abs(time - newest->time) < options_.period / 2) {
    events_.erase(std::next(newest).base());
    ++statistics_.dropped;
    --waiting;
  }
  for (; waiting > options_.kept; --waiting) {
    events_.erase(std::find_if(events_.begin(), events_.end(), is_observation));
    ++statistics_.dropped;
  }
  drop_overtaken();
}

// Goals, task fields and pinned plans that a later one replaces before any observation could use
// them: a planner that is busy for long must not collect them.
void AsyncMpc::Worker::drop_overtaken() {
  const auto overtaken = [&](std::deque<Event>::const_iterator event) {
    if (event->kind == Event::Kind::observation || event->kind == Event::Kind::reset) return false;
    for (auto later = std::next(event); later != events_.end(); ++later) {
      if (later->kind == Event::Kind::observation) return false;
      if (later->kind == event->kind && later->rows == event->rows && later->field == event->field)
        return true;
    }
    return false;
  };
  for (auto event = events_.begin(); event != events_.end();)
    event = overtaken(event) ? events_.erase(event) : std::next(event);
}

void AsyncMpc::Worker::push(Event event) {
  event.number = ++number_;
  events_.push_back(std::move(event));
  wake_.notify_one();
}

void AsyncMpc::Worker::push_wish(Event event) {
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  push(std::move(event));
  drop_overtaken();
}

void AsyncMpc::Worker::set_goal(const Observation& goal, std::vector<int64_t> rows) {
  WithoutGradients no_gradients;
  Event event;
  event.kind = Event::Kind::goal;
  event.rows = checked(std::move(rows));
  spec_.check(goal, static_cast<int64_t>(event.rows.size()));
  for (const auto& [name, value] : goal.fields()) check_finite(name, value);
  event.observation = copy_of(goal);
  push_wish(std::move(event));
}

void AsyncMpc::Worker::set_task(std::string_view field, const Tensor& value) {
  Event event;
  event.kind = Event::Kind::task;
  event.field = std::string(field);
  event.value = detail::checked_task_value(field, value, mpc_options_.batch);
  push_wish(std::move(event));
}

void AsyncMpc::Worker::set_pinned(const Tensor& pinned) {
  Event event;
  event.kind = Event::Kind::pinned;
  event.value = detail::checked_pinned(pinned, mpc_options_, spec_.action);
  push_wish(std::move(event));
}

void AsyncMpc::Worker::reset(std::vector<int64_t> rows) {
  WithoutGradients no_gradients;
  Event event;
  event.kind = Event::Kind::reset;
  event.rows = checked(std::move(rows));
  std::lock_guard lock(mutex_);
  if (stopping_) return;
  std::erase_if(events_, [&](const Event& earlier) {
    return earlier.kind == Event::Kind::reset && earlier.rows == event.rows;
  });
  for (const auto row : event.rows) {
    auto& slot = slots_[static_cast<std::size_t>(row)];
    slot = Slot{};
    slot.valid_from = number_ + 1;
    const auto unknown = spec_.action.discrete ? at::Scalar(-1) : at::Scalar(std::nan(""));
    last_[row].fill_(unknown);
    for (auto& answer : answers_) answer.action[row].fill_(unknown);
  }
  push(std::move(event));
}

bool AsyncMpc::Worker::wait_idle(double seconds) {
  constexpr double kLongest = 1e8;  // three years; a duration of the clock holds no infinity
  const double patience = seconds > 0 ? std::min(seconds, kLongest) : 0.0;  // nor NaN
  std::unique_lock lock(mutex_);
  return idle_.wait_for(lock, std::chrono::duration<double>(patience),
                        [&] { return (events_.empty() && !busy_) || stopping_; });
}

void AsyncMpc::Worker::stop() noexcept {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    events_.clear();
  }
  wake_.notify_all();
  idle_.notify_all();
  std::lock_guard lock(join_);
  if (thread_.joinable()) thread_.join();
}

AsyncPlan AsyncMpc::Worker::plan(int64_t row) const {
  checked({row});
  std::lock_guard lock(mutex_);
  const auto& slot = slots_[static_cast<std::size_t>(row)];
  const auto* newest = !slot.coming.empty() ? &slot.coming.back()
                       : slot.current       ? &*slot.current
                                            : nullptr;
  if (newest == nullptr) return {};
  return {.observed = newest->observed,
          .begin = newest->begin,
          .commands = newest->values.clone(),
          .cost = newest->cost,
          .terms = newest->terms};
}

AsyncStatistics AsyncMpc::Worker::statistics() const {
  std::lock_guard lock(mutex_);
  return statistics_;
}

}  // namespace foresight
