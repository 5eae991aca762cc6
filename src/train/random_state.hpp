// SPDX-License-Identifier: Apache-2.0
// State of torch's own generators, from which dropout draws.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>

#include "foresight/core/tensor.hpp"

namespace foresight::train {

inline Tensor random_state() {
  auto generator = at::detail::getDefaultCPUGenerator();
  std::lock_guard lock(generator.mutex());
  return generator.get_state();
}

inline void set_random_state(const Tensor& state) {
  auto generator = at::detail::getDefaultCPUGenerator();
  std::lock_guard lock(generator.mutex());
  generator.set_state(state.clone());
}

/// A state of its own for each process and step.
inline void seed_generator(at::Device device, int64_t rank, int64_t step) {
  auto generator = at::globalContext().defaultGenerator(device);
  std::lock_guard lock(generator.mutex());
  generator.set_current_seed(static_cast<std::uint64_t>(step) * 65536 +
                             static_cast<std::uint64_t>(rank));
}

/// Whatever draws while it exists has drawn nothing afterwards: evaluation must not change
/// training.
class KeptRandomState {
 public:
  KeptRandomState() : state_(random_state()) {}
  ~KeptRandomState() { set_random_state(state_); }
  KeptRandomState(const KeptRandomState&) = delete;
  KeptRandomState& operator=(const KeptRandomState&) = delete;

 private:
  Tensor state_;
};

}  // namespace foresight::train
