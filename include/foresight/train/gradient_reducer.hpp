// SPDX-License-Identifier: Apache-2.0
// Where several processes that train one model meet. The Trainer calls this and knows nothing of
// how processes talk; a reducer knows nothing of optimisers.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "foresight/core/replicas.hpp"

namespace foresight::train {

/// Data-parallel training of one model by world_size() processes. Every process holds the same
/// weights, draws its own shard of every batch, and makes the same update from the mean gradient.
class FORESIGHT_API GradientReducer {
 public:
  virtual ~GradientReducer() = default;

  /// This process, in 0..world_size()-1. Rank 0 alone writes metrics, checkpoints and bundles.
  virtual int64_t rank() const = 0;
  virtual int64_t world_size() const = 0;

  /// The same processes as replicas of one batch, for the statistics that a loss takes of it.
  /// Null: each process takes those of its own part.
  virtual std::shared_ptr<const Replicas> replicas() const { return nullptr; }

  /// Replaces every tensor (weights, buffers, moments, ...) by rank 0's. Called in every process
  /// before the first update and after the last. Throws Error(invalid_argument) unless all have the
  /// same number of tensors and elements and are at the same step.
  virtual void synchronise(int64_t /*step*/, const std::vector<Tensor>& /*state*/) {}

  /// Tells that the next backward pass completes the gradients of `parameters`, so that they may be
  /// exchanged while it goes on. reduce() follows.
  virtual void before_last_backward(const std::vector<Tensor>& /*parameters*/) {}

  /// Replaces the gradients by their mean over all processes. Called once per update, in every
  /// process, after the backward pass of the last micro-batch and before clipping, so that the norm
  /// is that of the mean. `parameters`: those that are trained, in the same order everywhere; one
  /// without gradient here may have one elsewhere and counts as zero, and stays without if it has
  /// none anywhere. (Where the loss exchanges statistics of the batch, in replicas(), that needs
  /// DataParallelOptions.overlap = none: messages that leave during the backward pass must leave in
  /// the same order everywhere.) Throws Error(io_failure) when a process is gone.
  virtual void reduce(const std::vector<Tensor>& parameters) = 0;

  /// Replaces host values by their mean over all processes: losses for the metrics, and flags by
  /// which all processes stop together. NaN anywhere is NaN everywhere. Called once per update and
  /// once per measurement of success, in every process.
  virtual void average(std::vector<double>& values) = 0;

  /// Calls `work`, which may take longer than an exchange may wait and exchanges nothing; all
  /// processes call this together, e.g. where rank 0 alone has much to do. By default nobody waits
  /// here for the others. Throws what `work` throws, Error(io_failure) when a process is gone.
  virtual void long_work(const std::function<void()>& work) { work(); }
};

}  // namespace foresight::train
