// SPDX-License-Identifier: Apache-2.0
// What all tasks that learn from batches of recorded windows have in common: where the batches come
// from, validation on always the same ones, and a position from which all of it goes on exactly. A
// task adds the loss of one batch.
#pragma once

#include <memory>
#include <string>

#include "foresight/core/noise.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/train/task.hpp"

namespace foresight::train {

/// Where a task's batches come from, and what is random about them.
struct TaskData {
  std::unique_ptr<data::Loader> training;
  /// Held-out windows; may be null. Best in an order that mixes episodes, and with
  /// LastBatch::keep.
  std::unique_ptr<data::Loader> validation = nullptr;
  int64_t validation_batches = 20;  ///< its first ones, at every validation
  std::uint64_t seed = 0;           ///< of everything a loss draws: masks, views, projections
  /// Earlier recordings that are rehearsed; may be null. Its batch is appended to every training
  /// batch, so that the two batch sizes state the ratio of old to new.
  std::unique_ptr<data::Loader> replay = nullptr;
};

class FORESIGHT_API LoaderTask : public Task {
 public:
  const std::string& name() const final { return name_; }
  int64_t samples() const final { return samples_; }
  losses::Terms loss() final;
  losses::Terms validate() final;
  /// Counts the update; a task that overrides it calls this.
  void updated() override { ++updates_; }
  std::string position() const final;
  void seek(const std::string& position) final;

 protected:
  /// Throws Error(invalid_argument) without a training loader, Error(invalid_option) for fewer than
  /// one validation batch.
  LoaderTask(std::string name, TaskData data);

  /// The loss of one batch, whose tensors are on the CPU. `noise` is all randomness there is: its
  /// position is saved. Called in training mode with gradient, and by validate() in inference mode
  /// without.
  virtual losses::Terms batch_loss(const data::Batch& batch, Noise& noise) = 0;

  /// Updates so far, earlier runs included: for what follows a schedule, e.g. a target's momentum.
  int64_t updates() const noexcept { return updates_; }

 private:
  std::string name_;
  TaskData data_;
  PhiloxNoise noise_;
  int64_t samples_ = 0, updates_ = 0;
};

}  // namespace foresight::train
