// SPDX-License-Identifier: Apache-2.0
// Answering at once from the newest plan.
#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "async_mpc_worker.hpp"
#include "foresight/core/without_gradients.hpp"

namespace foresight {
namespace {

void append_once(std::string& message, const std::string& text) {
  if (text.empty() || message.find(text) != std::string::npos) return;
  message += (message.empty() ? "" : "; ") + text;
}

}  // namespace

void AsyncMpc::Worker::Rung::because(Status why, Fault what, std::string text) {
  status = why;
  fault = what;
  message = std::move(text);
}

AsyncMpc::Worker::Rung AsyncMpc::Worker::choose(Slot& slot, double time, int64_t row) {
  Rung rung;
  if (stopping_) {
    rung.because(Status::not_started, Fault::no_plan, "planning is stopped");
    return rung;
  }
  if (!std::isfinite(time)) {
    rung.because(Status::invalid_input, Fault::plan_stale,
                 "action() for a time that is not finite");
    return rung;
  }
  while (!slot.coming.empty() && time >= slot.coming.front().begin - options_.period / 2) {
    slot.current = std::move(slot.coming.front());
    slot.coming.pop_front();
  }
  if (slot.current) rung.age = time - slot.current->observed;
  if (slot.watched && slot.safety.response != SafetyResponse::report)
    guard(slot, row, rung);
  else if (slot.current)
    follow(slot, time, rung);
  else
    rung.because(is_usable(slot.status) ? Status::not_started : slot.status, slot.fault,
                 slot.message.empty() ? "no plan yet" : slot.message);
  return rung;
}

void AsyncMpc::Worker::guard(const Slot& slot, int64_t row, Rung& rung) const {
  rung.because(Status::fell_back, Fault::surprised,
               fmt::format("problem {}: surprised, threshold {:.3g}", row, slot.safety.threshold));
  const auto last = last_[row];
  const bool known =
      spec_.action.discrete ? last.ge(0).all().item<bool>() : last.isfinite().all().item<bool>();
  if (slot.safety.response != SafetyResponse::hold || !known) return;
  rung.source = ActionSource::previous_plan;
  rung.command = last.clone();
}

void AsyncMpc::Worker::follow(const Slot& slot, double time, Rung& rung) const {
  const auto& plan = *slot.current;
  const double step = std::max(0.0, std::round((time - plan.begin) / options_.period));
  const auto steps = static_cast<double>(plan.values.size(0));
  const bool failed = !is_usable(slot.status);
  rung.stale = std::abs(rung.age) > options_.max_age;
  const auto stale = [&rung](std::string text) {
    rung.because(Status::fell_back, Fault::plan_stale, std::move(text));
  };
  if (rung.age < -options_.max_age)
    return stale(fmt::format("the plan is {:.3g} s in the future: the clock went back", -rung.age));
  if (rung.age > options_.max_age + options_.coast)
    return stale(fmt::format("the plan is {:.3g} s old, more than {} + {} s", rung.age,
                             options_.max_age, options_.coast));
  if (step >= steps)
    return stale(fmt::format("the plan ended {:.3g} s ago",
                             time - plan.begin - (steps - 1) * options_.period));
  rung.command = plan.values[static_cast<int64_t>(step)];
  rung.source = rung.stale || failed ? ActionSource::previous_plan : plan.source;
  rung.because(slot.status, slot.fault, failed ? slot.message : std::string());
  if (rung.stale && !failed)
    stale(fmt::format("the plan is {:.3g} s old, more than {} s", rung.age, options_.max_age));
}

Tensor AsyncMpc::Worker::within_rate(const Tensor& wanted, double time) {
  auto action = wanted;
  if (!mpc_options_.max_step.empty()) {
    action = wanted.clone();
    auto* value = action.data_ptr<float>();
    const auto* last = last_.data_ptr<float>();
    const auto dim = spec_.action.dim;
    for (int64_t i = 0; i < action.numel(); ++i) {
      const auto& slot = slots_[static_cast<std::size_t>(i / dim)];
      double passed = (time - slot.answered) / options_.period;
      // A clock that jumped, either way, tells nothing: one control step.
      if (!(passed > -1 && passed < 1)) passed = 1;
      const auto reach = static_cast<float>(
          std::max(passed, 0.0) * mpc_options_.max_step[static_cast<std::size_t>(i % dim)]);
      if (std::isfinite(last[i])) value[i] = std::clamp(value[i], last[i] - reach, last[i] + reach);
    }
  }
  return limits_.apply(action, last_);
}

AsyncDecision AsyncMpc::Worker::action(double time) {
  WithoutGradients no_gradients;
  const auto begin = now();
  AsyncDecision decision;
  std::lock_guard lock(mutex_);
  try {
    answer(decision, time);
  } catch (...) {  // no memory left to say more with
    const auto batch = static_cast<std::size_t>(mpc_options_.batch);
    decision = AsyncDecision();
    decision.statuses.assign(batch, Status::failed);
    decision.sources.assign(batch, ActionSource::safe_action);
    decision.faults.assign(batch, Fault::internal);
    decision.message = "answering failed";
    decision.action = emergency_;
  }
  decision.status = worst(decision.statuses);
  ++statistics_.answers;
  decision.total_seconds = std::chrono::duration<double>(now() - begin).count();
  statistics_.worst_answer_seconds =
      std::max(statistics_.worst_answer_seconds, decision.total_seconds);
  return decision;
}

Problem::Clock::time_point AsyncMpc::Worker::now() const noexcept {
  try {
    return now_();
  } catch (...) {
    return {};  // only figures come from this clock
  }
}

void AsyncMpc::Worker::keep_answer(double time) {
  const bool same_step =
      !answers_.empty() && std::abs(time - answers_.back().time) < options_.period / 2;
  if (same_step) {
    answers_.back().action.copy_(last_);
    return;
  }
  answers_.push_back({time, last_.clone()});
  if (answers_.size() > kAnswersKept) answers_.pop_front();
}

void AsyncMpc::Worker::answer(AsyncDecision& decision, double time) {
  const auto batch = mpc_options_.batch;
  decision.message.clear();
  std::vector<Tensor> wanted;
  bool stale = false, safe = false;
  for (int64_t row = 0; row < batch; ++row) {
    auto& slot = slots_[static_cast<std::size_t>(row)];
    auto rung = choose(slot, time, row);
    safe = safe || !rung.command.defined();
    stale = stale || rung.stale;
    wanted.push_back(rung.command.defined() ? std::move(rung.command) : safe_);
    decision.sources.push_back(rung.source);
    decision.statuses.push_back(rung.status);
    decision.faults.push_back(rung.fault);
    decision.plan_age.push_back(rung.age);
    append_once(decision.message, rung.message);
    if (slot.watched) decision.safety.push_back(slot.safety);
  }
  if (static_cast<int64_t>(decision.safety.size()) != batch) decision.safety.clear();
  append_once(decision.message, wish_problem_);
  decision.planned.assign(static_cast<std::size_t>(batch), false);
  if (decision.message.empty()) decision.message = "ok";

  decision.action = at::stack(wanted);
  if (!spec_.action.discrete) decision.action = within_rate(decision.action, time);
  last_.copy_(decision.action);
  if (std::isfinite(time)) keep_answer(time);
  if (std::isfinite(time))
    for (auto& slot : slots_) {
      const double passed = time - slot.answered;
      const bool jumped = !(std::abs(passed) < options_.period);
      slot.answered = jumped ? time : std::max(slot.answered, time);
    }
  statistics_.stale_answers += stale;
  statistics_.safe_answers += safe;
}

}  // namespace foresight
