// SPDX-License-Identifier: Apache-2.0
// State of torch's own generators, from which dropout draws.
#pragma once

#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Context.h>

#include <mutex>
#include <string_view>

#include "foresight/core/fnv1a.hpp"
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

/// A state of its own for each seed, stage, process and step.
struct GeneratorSeed {
  std::uint64_t seed = 0;
  std::string_view stage;
  int64_t rank = 0, step = 0;
};

inline void seed_generator(at::Device device, const GeneratorSeed& from) {
  // Of a CPU's seed only the lower 32 bits count, which a hash fills.
  Fnv1a hash;
  for (const auto number : {static_cast<int64_t>(from.seed), from.rank, from.step})
    hash.add(number);
  hash.add(from.stage);
  auto generator = at::globalContext().defaultGenerator(device);
  std::lock_guard lock(generator.mutex());
  generator.set_current_seed(hash.value());
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
