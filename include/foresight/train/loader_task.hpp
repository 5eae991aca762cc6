// SPDX-License-Identifier: Apache-2.0
// What all tasks that learn from batches of recorded windows have in common: where the batches come
// from, validation on always the same ones, and a position from which all of it goes on exactly. A
// task adds the loss of one batch.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "foresight/core/noise.hpp"
#include "foresight/data/loader.hpp"
#include "foresight/data/staged_loader.hpp"
#include "foresight/train/augmentation.hpp"
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
  /// batch, so that the two batch sizes state the ratio of old to new. In Batch::windows of the
  /// whole, episode e of these is -1 - e.
  std::unique_ptr<data::Loader> replay = nullptr;
  at::Device device = at::kCPU;           ///< where training batches are brought ahead of time and
                                          ///< augmented: the module's
  AugmentationOptions augmentation = {};  ///< of training windows, never of held-out ones
  ActionSpace action = {};                ///< of the batches, for mirroring
};

class FORESIGHT_API LoaderTask : public Task {
 public:
  const std::string& name() const final { return name_; }
  std::optional<std::uint64_t> seed() const final { return data_.seed; }
  int64_t samples() const final { return samples_; }
  losses::Terms loss() final;
  /// Every batch draws from a place of its own in the noise, so that a batch's loss does not
  /// depend on which process computes it; each process takes whole batches that follow each other.
  losses::Terms validate() final;
  losses::Terms validate_together(const Replicas& processes) final;
  /// The same of other windows, held out of the recordings that are rehearsed: their episodes are
  /// numbered as those of TaskData::replay. No terms for null.
  losses::Terms loss_on(data::Loader* windows, const Replicas* processes = nullptr);
  /// Counts the update; a task that overrides it calls this.
  void updated() override { ++updates_; }
  std::string position() const final;
  void seek(const std::string& position) final;
  std::optional<double> seconds_waited() const final { return waited_s_; }
  /// "skipped_windows", once there are any (data::Unreadable::skip), and
  /// "skipped_validation_windows", of the last validation, if it had any: of all processes.
  std::vector<std::pair<std::string, double>> counters() const final;
  int64_t take_skipped() final { return std::exchange(newly_skipped_, 0); }
  void add_skipped(int64_t windows, const Replicas* processes) final;

  /// Training windows that could not be read and were replaced, by any process, earlier runs
  /// included.
  int64_t skipped_windows() const noexcept { return skipped_; }
  /// Held-out windows likewise, of the last validation.
  int64_t skipped_validation_windows() const noexcept { return skipped_held_out_; }
  /// Episodes with such windows, of any process, earlier runs included, and what was wrong with
  /// one.
  const std::map<std::string, std::string>& unreadable_episodes() const noexcept {
    return unreadable_;
  }

 protected:
  /// Throws Error(invalid_argument) without a training loader, Error(invalid_option) for fewer than
  /// one validation batch.
  LoaderTask(std::string name, TaskData data);

  /// The loss of one batch, whose tensors are on the CPU. `noise` is all randomness there is: its
  /// position is saved. Called in training mode with gradient, and by validate() in inference mode
  /// without. Of several processes each gets its part of the batch and the same noise: what is
  /// drawn for single samples is drawn through SampleNoise, or for all and then picked.
  virtual losses::Terms batch_loss(const data::Batch& batch, Noise& noise) = 0;

  /// Updates so far, earlier runs included: for what follows a schedule, e.g. a target's momentum.
  int64_t updates() const noexcept { return updates_; }
  /// Random changes of training windows.
  const AugmentationOptions& augmentation() const noexcept { return data_.augmentation; }

 private:
  data::Batch next_batch(data::StagedLoader& loader, const Augmentation& change);
  // Names the episodes of its skipped windows in the log, each once.
  void name_skipped(const data::Batch& batch);
  // Every process knows the names of all.
  void share_unreadable(const Replicas& processes);

  std::string name_;
  TaskData data_;
  std::optional<data::StagedLoader> training_, replay_;
  std::optional<Augmentation> augmentation_, replay_augmentation_;
  PhiloxNoise noise_;
  int64_t batches_ = 0, replay_batches_ = 0;  // of an epoch
  int64_t samples_ = 0, updates_ = 0;
  int64_t newly_skipped_ = 0, skipped_ = 0;  // by this process since the last step; by all
  int64_t skipped_held_out_ = 0;
  double waited_s_ = 0;  // for training data, in this run
  std::map<std::string, std::string> unreadable_;
};

}  // namespace foresight::train
