// SPDX-License-Identifier: Apache-2.0
// The smallest training of a Jepa by learn(), for tests of what goes on around it.
#pragma once

#include "foresight/train/learn.hpp"

namespace foresight::train {

/// Of the world model alone, on windows of five rows that follow each other.
inline LearnOptions tiny_learning(int64_t steps) {
  LearnOptions options;
  options.model.cnn = {.channels = {4, 8}, .width = 16};
  options.model.latent = 6;
  options.model.mlp.hidden = {16};
  options.windows = {.frames = 5, .stride = 1};
  options.loader.batch = 8;
  options.loader.threads = 0;
  options.training.steps = steps;
  options.critic_training.steps = 0;
  return options;
}

}  // namespace foresight::train
