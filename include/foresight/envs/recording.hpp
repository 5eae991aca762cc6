// SPDX-License-Identifier: Apache-2.0
// Runs a policy in an environment and keeps everything: the source of training episodes.
#pragma once

#include <cstdint>

#include "foresight/envs/env.hpp"
#include "foresight/envs/policies.hpp"

namespace foresight::envs {

/// One episode of T rows. Row t holds frame t, state t and the action that was applied in that
/// state and led to row t+1. Row 0 is the reset; the last row has no action: NaN.
struct Episode {
  Tensor frames;     ///< uint8 [T,size,size,3]
  Tensor states;     ///< [T,N], the environment's state type
  Tensor actions;    ///< float32 [T,dim]; last row NaN
  Tensor goal;       ///< [N]
  Tensor distances;  ///< to the goal, float64 [T]
  bool terminated = false;
  bool truncated = false;

  int64_t length() const { return states.defined() ? states.size(0) : 0; }
};

/// Resets `env` with `seed` and lets `policy` act until the episode ends, with noise of the same
/// seed. `image_size` is the side of the frames, px. Throws Error(invalid_argument) if the
/// environment never truncates.
FORESIGHT_API Episode record_episode(Env& env, ScriptedPolicy& policy, std::uint64_t seed,
                                     int64_t image_size);

}  // namespace foresight::envs
