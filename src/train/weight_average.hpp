// SPDX-License-Identifier: Apache-2.0
// A moving average of the weights: it evaluates better than the weights that wander around it
// (Polyak and Juditsky 1992), and costs one more copy of them.
#pragma once

#include <string>
#include <vector>

#include "foresight/io/safetensors.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::train {

/// The average of a module's trainable parameters; buffers are not averaged.
class WeightAverage {
 public:
  /// Starts as the present weights. `decay` in (0,1).
  WeightAverage(const torch::nn::Module& module, double decay);

  /// average = d average + (1 - d) weights after the update number `updates` (from 1), with
  /// d = min(decay, (1 + updates)/(10 + updates)), so that a short run forgets its first weights.
  void update(int64_t updates);
  /// Exchanges the module's weights and their average; twice changes nothing.
  void exchange();

  /// By parameter name; the tensors share memory with the average.
  io::NamedTensors state() const;

 private:
  double decay_;
  std::vector<std::string> names_;
  std::vector<Tensor> weights_, average_;
};

/// The module holds the average while this exists; nothing happens for a null one.
class AveragedWeights {
 public:
  explicit AveragedWeights(WeightAverage* average) : average_(average) {
    if (average_ != nullptr) average_->exchange();
  }
  ~AveragedWeights() {
    if (average_ != nullptr) average_->exchange();
  }
  AveragedWeights(const AveragedWeights&) = delete;
  AveragedWeights& operator=(const AveragedWeights&) = delete;

 private:
  WeightAverage* average_;
};

}  // namespace foresight::train
