// SPDX-License-Identifier: Apache-2.0
// What tests of the asynchronous loop share: a planner with a gate, so that a test says when
// planning ends, and a loop in made-up time around it.
#pragma once

#include <condition_variable>
#include <mutex>
#include <stdexcept>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/control/async_mpc.hpp"
#include "foresight/planning/terms.hpp"
#include "planning/point_mass.hpp"

namespace foresight::async_mpc_test {

inline constexpr double kPatience = 60;  // seconds until a test gives up on the planning thread

// Plans the ramp first, first + 0.01, first + 0.02, ... for every dimension, once its gate is open.
class GatedPlanner final : public Planner {
 public:
  Plan solve(const Problem& problem, Noise&) const override {
    std::unique_lock lock(mutex_);
    ++entered_;
    changed_.notify_all();
    changed_.wait(lock, [&] { return open_; });
    if (fails_) throw std::runtime_error("the planner is moody");
    const auto count = problem.batch * problem.horizon * problem.width();
    Plan plan;
    plan.status = Status::ok;
    plan.statuses.assign(static_cast<std::size_t>(problem.batch), Status::ok);
    const auto steps = at::arange(problem.horizon * problem.action.block, at::kFloat)
                           .repeat_interleave(problem.action.dim)
                           .repeat({problem.batch});
    plan.actions = (first_ + 0.01 * steps)
                       .narrow(0, 0, count)
                       .reshape({problem.batch, problem.horizon, problem.width()});
    plan.diagnostics.iterations = 1;
    return plan;
  }

  void gate(bool open) {
    std::lock_guard lock(mutex_);
    open_ = open;
    changed_.notify_all();
  }
  void close() { gate(/*open=*/false); }
  void open() { gate(/*open=*/true); }
  void begin_at(double first) {
    std::lock_guard lock(mutex_);
    first_ = first;
  }
  void fail(bool fails) {
    std::lock_guard lock(mutex_);
    fails_ = fails;
  }
  // Waits until solve() was called `count` times in all.
  bool wait_entered(int count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::duration<double>(kPatience),
                             [&] { return entered_ >= count; });
  }
  int entered() const {
    std::lock_guard lock(mutex_);
    return entered_;
  }

 private:
  mutable std::mutex mutex_;
  mutable std::condition_variable changed_;
  mutable int entered_ = 0;
  bool open_ = true, fails_ = false;
  double first_ = 0;
};

inline Objective anything() {
  Objective objective;
  objective.add("effort", 1.0, control_effort());
  return objective;
}

inline Observation at_state(const Tensor& state) { return {kProprio, state}; }
inline Observation seen_at(double x, int64_t batch = 1) {
  return at_state(
      at::tensor({static_cast<float>(x), 0.F, 0.F, 0.F}).unsqueeze(0).repeat({batch, 1}));
}

inline double first_of(const Decision& decision) { return decision.action[0][0].item<double>(); }

struct Setup {
  MpcOptions mpc = {.horizon = 20, .replan_steps = 1, .retries = 0, .safe_action = {-0.5, -0.5}};
  AsyncMpcOptions async = {.period = 0.1, .max_age = 100, .coast = 0};
  std::shared_ptr<PointMass> model = std::make_shared<PointMass>(1);
  std::shared_ptr<GatedPlanner> planner = std::make_shared<GatedPlanner>();

  AsyncMpc make() const { return AsyncMpc(Mpc(model, anything(), planner, mpc), async); }
};

}  // namespace foresight::async_mpc_test
