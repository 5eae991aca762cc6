// SPDX-License-Identifier: Apache-2.0
// Training of a small model and its cost-to-go that takes a second.
#pragma once

#include "foresight/train/learn.hpp"

namespace foresight::train {

inline LearnOptions brief_learning() {
  LearnOptions options;
  options.windows.stride = 2;
  options.loader.batch = 16;
  options.loader.threads = 0;
  options.validation = 0.2;
  options.training.steps = 12;
  options.training.log_every = 1;
  options.training.validate_every = 0;
  options.training.checkpoint_every = 5;
  options.critic_training.steps = 8;
  options.seed = 4;
  return options;
}

}  // namespace foresight::train
