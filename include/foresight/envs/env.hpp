// SPDX-License-Identifier: Apache-2.0
// The contract between small simulated worlds and what records, evaluates and demonstrates with
// them.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::envs {

/// Static description of an environment.
struct EnvSpec {
  std::string name;                            ///< as known to make_env(), e.g. "two_room"
  ActionSpace action;                          ///< raw actions: block 1, limits set, no statistics
  std::vector<std::string> state_names;        ///< one name per element of state()
  at::ScalarType state_dtype = at::kFloat;     ///< precision in which the simulator keeps its state
  std::vector<std::string> observation_names;  ///< one name per element of EnvStep::observation
  int64_t native_size = 0;        ///< side of the square picture the simulator draws, px
  int64_t picture_planes = 0;     ///< 0: render() gives RGB [size,size,3]; else that many planes
                                  ///< [C,size,size] made for a model, which no video can hold
  double fps = 10;                ///< frames per second at which recordings play
  int64_t max_episode_steps = 0;  ///< truncated after so many steps; 0: never
  int64_t problem_steps = 50;     ///< steps that a problem drawn from it is given, unless told
  double end_distance = 0;        ///< > 0: solved is what *ends* nearer to the goal than this, in
                                  ///< units of goal_distance(): reaching it is not enough, one must
                                  ///< stay; 0: solved as soon as a step terminates
};

/// What one step returns.
struct EnvStep {
  Tensor observation;  ///< low-dimensional observation, float32 [spec().observation_names.size()]
  double reward = 0;   ///< reward of this step
  bool terminated = false;  ///< the goal is reached
  bool truncated = false;   ///< max_episode_steps steps were made since the reset
};

/// A simulated world with a goal, driven by raw actions. One instance is used by one thread.
/// Pictures are drawn only when asked for, because most control steps do not need one.
class FORESIGHT_API Env {
 public:
  virtual ~Env() = default;

  virtual const EnvSpec& spec() const = 0;

  /// Starts an episode at a random state with a random goal; the same seed gives the same two.
  virtual EnvStep reset(std::uint64_t seed) = 0;
  /// Starts an episode at `state` with goal `goal` [N]. Throws Error on a wrong shape, non-finite
  /// values or a state outside of the world.
  virtual EnvStep reset_to(const Tensor& state, const Tensor& goal) = 0;
  /// Applies one raw action [spec().action.dim]. Actions outside of the limits are treated as the
  /// simulated device would; NaN and infinity throw Error(non_finite). May be called after
  /// termination.
  virtual EnvStep step(const Tensor& action) = 0;

  /// Copy of the current state [N], spec().state_dtype.
  virtual Tensor state() const = 0;
  /// Moves the world to a state [N] without counting a step.
  virtual void set_state(const Tensor& state) = 0;
  /// Copy of the goal state [N].
  virtual Tensor goal() const = 0;
  virtual void set_goal(const Tensor& goal) = 0;
  /// Distance to the goal in the units of the success test.
  virtual double goal_distance() const = 0;

  /// Picture of the current state as the sensors see it, uint8: RGB [size,size,3], or planes
  /// [C,size,size] where spec().picture_planes says so.
  virtual Tensor render(int64_t size) const = 0;
};

/// Makes one more environment of the same kind: evaluation runs many side by side.
using EnvFactory = std::function<std::unique_ptr<Env>()>;

}  // namespace foresight::envs
