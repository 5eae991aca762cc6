// SPDX-License-Identifier: Apache-2.0
// The planning thread.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "async_mpc_worker.hpp"

namespace foresight {
namespace {

// Read from a device at once, not problem by problem.
Tensor on_host(const Tensor& values) { return values.defined() ? values.cpu() : values; }

// NaN where a planner did not say.
double number_at(const Tensor& values, std::size_t place) {
  const auto index = static_cast<int64_t>(place);
  const bool there = values.defined() && values.dim() == 1 && index < values.size(0);
  return there ? values[index].item<double>() : std::nan("");
}

}  // namespace

void AsyncMpc::Worker::run() {
  try {
    if (options_.on_thread_start) options_.on_thread_start();
  } catch (const std::exception& error) {
    tell_failure(std::string("on_thread_start: ") + error.what());
  } catch (...) {
    tell_failure("on_thread_start: an unknown exception");
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [&] { return stopping_ || !events_.empty(); });
    if (stopping_) return;
    auto events = std::exchange(events_, {});
    busy_ = true;
    lock.unlock();
    work(std::move(events));
    lock.lock();
    busy_ = false;
    if (events_.empty()) idle_.notify_all();
  }
}

void AsyncMpc::Worker::work(std::deque<Event> events) {
  const auto newest = std::find_if(events.rbegin(), events.rend(), [](const Event& event) {
    return event.kind == Event::Kind::observation;
  });
  const auto planned = newest == events.rend() ? 0 : newest->number;
  for (const auto& event : events) {
    {
      std::lock_guard lock(mutex_);
      if (stopping_) return;
    }
    try {
      if (event.kind == Event::Kind::observation)
        take(event, event.number == planned ? Use::plan : Use::history);
      else
        apply(event);
    } catch (const std::exception& error) {
      tell_failure(error.what());
    } catch (...) {
      tell_failure("an unknown exception");
    }
  }
}

void AsyncMpc::Worker::apply(const Event& event) {
  if (event.kind == Event::Kind::reset) {
    mpc_.reset(event.rows);
    // Another robot's history may go on; with one problem the next observation starts a new clock.
    if (static_cast<int64_t>(event.rows.size()) == mpc_options_.batch) taken_.reset();
    return;
  }
  std::string problem;
  try {
    if (event.kind == Event::Kind::task)
      mpc_.set_task(event.field, event.value);
    else if (event.kind == Event::Kind::pinned)
      mpc_.set_pinned(event.value);
    else if (event.rows == all_rows())
      mpc_.set_goal(event.observation);
    else
      mpc_.set_goal(event.observation, event.rows);
  } catch (const std::exception& error) {
    problem = std::string("goal rejected: ") + error.what();
  } catch (...) {
    problem = "goal rejected: an unknown exception";
  }
  std::lock_guard lock(mutex_);
  wish_problem_ = problem;
}

bool AsyncMpc::Worker::bridge_gap(double time) {
  if (!taken_) return true;
  const double steps = std::round((time - *taken_) / options_.period);
  if (steps == 0) return false;
  // When the clock jumped, or nothing that was planned is left, Mpc is led to the end of its plan.
  // (Not reset: that would lower a safety monitor's flag.)
  const bool within = steps > 0 && steps <= static_cast<double>(plan_steps_);
  const auto missed = within ? static_cast<int64_t>(steps) - 1 : plan_steps_;
  for (int64_t i = 0; i < missed; ++i) mpc_.follow({});
  return true;
}

void AsyncMpc::Worker::take(const Event& event, Use use) {
  if (!bridge_gap(event.time)) {
    std::lock_guard lock(mutex_);
    ++statistics_.dropped;
    return;
  }
  taken_ = event.time;
  if (use == Use::history) {
    mpc_.follow(event.observation, event.executed);
    return;
  }
  const auto decision = mpc_.act(event.observation, event.executed);
  publish(event, decision, mpc_.upcoming());
}

void AsyncMpc::Worker::publish(const Event& event, const Decision& decision,
                               const Tensor& upcoming) {
  const bool discrete = spec_.action.discrete;
  const bool due = decision.replanned() || !is_usable(decision.status);
  std::vector<std::optional<Commands>> plans(slots_.size());
  for (std::size_t b = 0; b < slots_.size(); ++b) {
    const auto row = static_cast<int64_t>(b);
    if (!decision.planned[b]) continue;
    const auto rest = upcoming[row];
    const auto known = discrete ? rest.ge(0).all(1) : rest.isfinite().all(1);
    auto& plan = plans[b].emplace(Commands{});
    plan.begin = event.time + latency_;
    plan.observed = event.time;
    plan.values = at::cat(
        {decision.action[row].unsqueeze(0), rest.narrow(0, 0, known.sum().item<int64_t>())});
    if (decision.sources[b] == ActionSource::retried_plan) plan.source = ActionSource::retried_plan;
  }
  // The last solve that covered a problem is the one whose plan was taken.
  for (const auto& [rows, plan] : decision.solved) {
    const auto cost = on_host(plan.cost);
    Terms terms;
    for (const auto& [name, value] : plan.terms) terms.emplace_back(name, on_host(value));
    for (std::size_t i = 0; i < rows.size(); ++i) {
      auto& told = plans[static_cast<std::size_t>(rows[i])];
      if (!told) continue;
      told->cost = number_at(cost, i);
      told->terms.clear();
      for (const auto& [name, value] : terms) told->terms.emplace_back(name, number_at(value, i));
    }
  }

  std::lock_guard lock(mutex_);
  for (std::size_t b = 0; b < slots_.size(); ++b) {
    auto& slot = slots_[b];
    if (event.number < slot.valid_from) continue;
    slot.status = decision.statuses[b];
    slot.fault = decision.faults[b];
    slot.message = is_usable(slot.status) ? std::string() : decision.message;
    slot.watched = !decision.safety.empty();
    if (slot.watched) slot.safety = decision.safety[b];
    if (!plans[b]) continue;
    auto& coming = slot.coming;
    while (!coming.empty() && coming.back().begin >= plans[b]->begin) coming.pop_back();
    coming.push_back(std::move(*plans[b]));
    // Nobody asks for actions: keep what may still be needed.
    for (; static_cast<int64_t>(coming.size()) > mpc_options_.latency_steps + 1; coming.pop_front())
      slot.current = std::move(coming.front());
  }
  if (due) ++(is_usable(decision.status) ? statistics_.plans : statistics_.failed_plans);
  statistics_.worst_plan_seconds = std::max(statistics_.worst_plan_seconds, decision.total_seconds);
}

void AsyncMpc::Worker::tell_failure(const std::string& message) {
  std::lock_guard lock(mutex_);
  for (auto& slot : slots_) {
    slot.status = Status::failed;
    slot.fault = Fault::internal;
    slot.message = "planning thread: " + message;
  }
  ++statistics_.failed_plans;
}

}  // namespace foresight
