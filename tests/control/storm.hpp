// SPDX-License-Identifier: Apache-2.0
// A small world in which everything can go wrong on command: model, cost and clock.
#pragma once

#include <array>
#include <stdexcept>
#include <utility>

#include "control/mpc_loop_parts.hpp"

namespace foresight {

inline constexpr double kLow = -1.0, kHigh = 1.0;  // of the continuous actions

/// What is injected, drawn anew for every control step.
enum class Trouble {
  none,
  observation_nan,
  observation_infinite,
  observation_shape,
  observation_batch,
  observation_dtype,
  observation_missing,
  observation_empty,
  observe_throws,
  observe_throws_no_exception,
  observe_makes_nan,
  observe_wrong_batch,
  step_throws,
  step_makes_infinity,
  step_wrong_shape,
  rollout_throws,
  cost_throws,
  cost_throws_once,
  cost_nan,
  cost_partly_nan,
  cost_wrong_shape,
  infeasible,
  stall_in_observe,
  stall_in_cost,
  clock_forwards,
  clock_backwards,
  clock_throws,
  executed_nan,
  executed_infinite,
  executed_elsewhere,
  executed_outside_limits,
  executed_wrong_shape,
  executed_wrong_dtype,
  goal_changes,
  goal_nan,
  goal_wrong_shape,
  goal_encoder_fails,
  task_changes,
  reset_some,
  reset_all,
};

/// Every kind of trouble and what a reader calls it.
inline constexpr std::array<std::pair<Trouble, const char*>, 40> kTroubles{
    {{Trouble::none, "none"},
     {Trouble::observation_nan, "observation NaN"},
     {Trouble::observation_infinite, "observation infinite"},
     {Trouble::observation_shape, "observation of another shape"},
     {Trouble::observation_batch, "observation of another batch"},
     {Trouble::observation_dtype, "observation of another dtype"},
     {Trouble::observation_missing, "observation lacks its field"},
     {Trouble::observation_empty, "observation empty"},
     {Trouble::observe_throws, "observe() throws"},
     {Trouble::observe_throws_no_exception, "observe() throws an int"},
     {Trouble::observe_makes_nan, "observe() makes NaN"},
     {Trouble::observe_wrong_batch, "observe() returns another batch"},
     {Trouble::step_throws, "step() throws"},
     {Trouble::step_makes_infinity, "step() makes infinity"},
     {Trouble::step_wrong_shape, "step() returns another shape"},
     {Trouble::rollout_throws, "rollout() throws"},
     {Trouble::cost_throws, "cost throws"},
     {Trouble::cost_throws_once, "cost throws once"},
     {Trouble::cost_nan, "cost NaN"},
     {Trouble::cost_partly_nan, "cost NaN for some candidates"},
     {Trouble::cost_wrong_shape, "cost of another shape"},
     {Trouble::infeasible, "constraints infeasible"},
     {Trouble::stall_in_observe, "stall in observe()"},
     {Trouble::stall_in_cost, "stall in the cost"},
     {Trouble::clock_forwards, "clock jumps forwards"},
     {Trouble::clock_backwards, "clock jumps backwards"},
     {Trouble::clock_throws, "clock throws"},
     {Trouble::executed_nan, "executed NaN"},
     {Trouble::executed_infinite, "executed infinite"},
     {Trouble::executed_elsewhere, "executed differs"},
     {Trouble::executed_outside_limits, "executed outside the limits"},
     {Trouble::executed_wrong_shape, "executed of another shape"},
     {Trouble::executed_wrong_dtype, "executed of another dtype"},
     {Trouble::goal_changes, "goal changes"},
     {Trouble::goal_nan, "goal NaN"},
     {Trouble::goal_wrong_shape, "goal of another shape"},
     {Trouble::goal_encoder_fails, "goal with a failing encoder"},
     {Trouble::task_changes, "task changes"},
     {Trouble::reset_some, "some problems reset"},
     {Trouble::reset_all, "all problems reset"}}};

// What model, cost and clock look up.
struct Storm {
  Trouble now = Trouble::none;
  ManualClock clock;
  mutable bool thrown = false;               // by a cost that throws once
  mutable std::chrono::nanoseconds jump{0};  // of the clock, in the middle of the next act()
  bool is(Trouble trouble) const { return now == trouble; }
  void let_time_jump() const {
    clock.pass(jump);
    jump = std::chrono::nanoseconds(0);
  }
};

// A mass on a line with a memory, as cheap as tensors allow.
class StormyModel final : public WorldModel {
 public:
  StormyModel(const Storm& storm, int64_t block, bool discrete) : storm_(storm) {
    spec_.family = "stormy";
    spec_.observation = {{std::string(kProprio), {2}}};
    auto& action = spec_.action;
    action.block = block;
    action.discrete = discrete;
    action.dim = discrete ? 3 : 2;
    if (!discrete) {
      action.low = {kLow, kLow};
      action.high = {kHigh, kHigh};
      action.mean = {0.1, -0.2};
      action.std = {0.5, 0.8};
    }
    spec_.history = 2;
    moves_ = at::zeros({action.width(), 2});
    for (int64_t i = 0; i < action.width(); ++i)
      moves_[i][i % 2] = 0.1 * (discrete ? static_cast<double>(i % action.dim - 1) : 1.0);
  }
  const ModelSpec& spec() const override { return spec_; }
  State initial(int64_t batch) const override {
    return State(1).set("latent", at::zeros({batch, 1, 2})).set("memory", at::zeros({batch, 1}));
  }
  State observe(const State& previous, const Tensor&, const Observation& observation,
                Noise&) const override {
    storm_.let_time_jump();
    if (storm_.is(Trouble::observe_throws)) throw std::runtime_error("encoder fault");
    if (storm_.is(Trouble::observe_throws_no_exception)) throw 42;
    if (storm_.is(Trouble::goal_encoder_fails)) throw std::runtime_error("encoder fault");
    if (storm_.is(Trouble::stall_in_observe)) storm_.clock.pass(std::chrono::milliseconds(15));
    auto latent = observation.at(kProprio).unsqueeze(1);
    auto memory = previous.at("memory") * 0.5 + 1.0;
    if (storm_.is(Trouble::observe_makes_nan)) memory = memory * std::nan("");
    if (storm_.is(Trouble::observe_wrong_batch)) {
      latent = at::cat({latent, latent});
      memory = at::cat({memory, memory});
    }
    return State(1)
        .set("latent", latent)
        .set("memory", memory)
        .set_filled(std::min<int64_t>(previous.filled() + 1, spec_.history));
  }
  Transition step(const State& state, const Tensor& action, Noise&) const override {
    if (storm_.is(Trouble::step_throws)) throw std::runtime_error("dynamics fault");
    auto latent = state.at("latent") + at::matmul(action, moves_).unsqueeze(-2);
    if (storm_.is(Trouble::step_makes_infinity)) latent = latent / 0.0;
    if (storm_.is(Trouble::step_wrong_shape)) latent = latent.narrow(-1, 0, 1);
    State next(state.batch_dims());
    next.set("latent", latent).set("memory", state.at("memory")).set_filled(state.filled());
    return {next, {}, {}};
  }
  Trajectory rollout(const State& state, const Tensor& actions, Noise& noise) const override {
    if (storm_.is(Trouble::rollout_throws)) throw std::runtime_error("rollout fault");
    return looped_rollout(state, actions, noise);
  }

 private:
  const Storm& storm_;
  ModelSpec spec_;
  Tensor moves_;  // [A,2]
};

inline Objective stormy_objective(const Storm& storm, bool constrained) {
  Objective objective;
  objective.add("goal", 1.0, [&storm](const Trajectory& trajectory, const Task& task) {
    storm.let_time_jump();
    if (storm.is(Trouble::cost_throws)) throw std::runtime_error("cost fault");
    if (storm.is(Trouble::cost_throws_once) && !std::exchange(storm.thrown, true))
      throw std::runtime_error("cost fault");
    if (storm.is(Trouble::stall_in_cost)) storm.clock.pass(std::chrono::milliseconds(8));
    auto cost = goal_distance()(trajectory, task);
    if (storm.is(Trouble::cost_nan)) cost = cost * std::nan("");
    if (storm.is(Trouble::cost_partly_nan)) cost = cost.masked_fill(cost.gt(cost.mean()), NAN);
    if (storm.is(Trouble::cost_wrong_shape)) cost = cost.narrow(1, 0, 1).squeeze(1);
    return cost;
  });
  if (constrained)
    objective.constrain("limit", [&storm](const Trajectory& trajectory, const Task&) {
      return trajectory.actions.square().sum({2, 3}) - (storm.is(Trouble::infeasible) ? -1 : 1e3);
    });
  return objective;
}

}  // namespace foresight
