// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/loader_task.hpp"

#include <fmt/format.h>

#include "agreement.hpp"
#include "elapsed.hpp"
#include "foresight/core/log.hpp"
#include "mean_terms.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

// Noise streams of one seed: losses while training, losses while validating.
constexpr std::uint64_t kBatchStream = 1, kHeldOutStream = 2;
constexpr int kBatchPlaceBits = 32;  // held-out batch b draws from position b * 2^32 on
// Streams of the augmentation's own noise.
constexpr std::uint64_t kNewWindows = 0, kReplayedWindows = 1;

// Windows of replayed episodes, told apart from the new ones for whoever knows frames by episode
// and row.
Tensor apart(const Tensor& replayed) {
  auto windows = replayed.clone();
  windows.select(1, 1).neg_().sub_(1);
  return windows;
}

// `more` below `batch`; columns that only one of them has are left out.
data::Batch joined(data::Batch batch, const data::Batch& more) {
  require(batch.pixels.sizes().slice(1) == more.pixels.sizes().slice(1) &&
              batch.actions.sizes().slice(1) == more.actions.sizes().slice(1),
          ErrorCategory::invalid_argument,
          "replayed windows have pictures " + shape_string(more.pixels.sizes()) + " and actions " +
              shape_string(more.actions.sizes()) + ", the new ones " +
              shape_string(batch.pixels.sizes()) + " and " + shape_string(batch.actions.sizes()));
  batch.pixels = at::cat({batch.pixels, more.pixels});
  batch.actions = at::cat({batch.actions, more.actions});
  batch.windows = at::cat({batch.windows, apart(more.windows)});
  const bool states = batch.states.defined() && more.states.defined() &&
                      batch.states.size(2) == more.states.size(2);
  batch.states = states ? at::cat({batch.states, more.states}) : Tensor();
  return batch;
}

}  // namespace

LoaderTask::LoaderTask(std::string name, TaskData data)
    : name_(std::move(name)), data_(std::move(data)), noise_(data_.seed, kBatchStream) {
  require(data_.training != nullptr, ErrorCategory::invalid_argument,
          "task '" + name_ + "' needs a training loader");
  require(data_.validation_batches >= 1, ErrorCategory::invalid_option,
          "TaskData.validation_batches = " + std::to_string(data_.validation_batches) +
              " must be >= 1");
  batches_ = data_.training->batches_per_epoch();
  training_.emplace(std::move(data_.training), data_.device);
  augmentation_.emplace(data_.augmentation, data_.action, data_.seed, kNewWindows);
  if (!data_.replay) return;
  replay_batches_ = data_.replay->batches_per_epoch();
  replay_.emplace(std::move(data_.replay), data_.device);
  replay_augmentation_.emplace(data_.augmentation, data_.action, data_.seed, kReplayedWindows);
}

data::Batch LoaderTask::next_batch(data::StagedLoader& loader, const Augmentation& change) {
  const auto asked = std::chrono::steady_clock::now();
  auto batch = loader.next();
  if (!batch) batch = loader.next();  // the end of an epoch is no batch: on to the next epoch
  waited_s_ += seconds_since(asked);
  newly_skipped_ += static_cast<int64_t>(batch->skipped.size());
  name_skipped(*batch);
  return change(std::move(*batch));
}

void LoaderTask::name_skipped(const data::Batch& batch) {
  for (const auto& window : batch.skipped) {
    // As files keep it: names of files need not be UTF-8.
    auto told = read_names(write_names({{window.name, window.reason}}));
    if (!told.empty() && !unreadable_.contains(told.begin()->first))
      log(LogLevel::warning, "task '" + name_ + "' skips windows of " + window.name +
                                 " that cannot be read: " + window.reason);
    unreadable_.merge(told);
  }
}

void LoaderTask::add_skipped(int64_t windows, const Replicas* processes) {
  skipped_ += windows;
  if (windows > 0 && processes != nullptr) share_unreadable(*processes);
}

void LoaderTask::share_unreadable(const Replicas& processes) {
  for (const auto& text : gathered(processes, write_names(unreadable_)))
    unreadable_.merge(read_names(text));
}

std::vector<std::pair<std::string, double>> LoaderTask::counters() const {
  std::vector<std::pair<std::string, double>> counters;
  if (skipped_ > 0) counters.emplace_back("skipped_windows", static_cast<double>(skipped_));
  if (skipped_held_out_ > 0)
    counters.emplace_back("skipped_validation_windows", static_cast<double>(skipped_held_out_));
  return counters;
}

losses::Terms LoaderTask::loss() {
  auto batch = next_batch(*training_, *augmentation_);
  if (replay_) batch = joined(std::move(batch), next_batch(*replay_, *replay_augmentation_));
  samples_ = batch.pixels.size(0);
  return batch_loss(batch, noise_);
}

losses::Terms LoaderTask::validate() { return loss_on(data_.validation.get()); }

losses::Terms LoaderTask::validate_together(const Replicas& processes) {
  return loss_on(data_.validation.get(), &processes);
}

losses::Terms LoaderTask::loss_on(data::Loader* windows, const Replicas* processes) {
  if (windows == nullptr) return {};
  PhiloxNoise noise(data_.seed, kHeldOutStream);
  // A process whose part is empty computes a batch all the same: it is counted where it belongs.
  const auto all = std::min(data_.validation_batches, windows->batches_per_epoch());
  const auto part = processes != nullptr ? part_of(all, processes->rank(), processes->count())
                                         : ReplicaPart{0, all};
  int64_t skipped = 0;
  const bool own = windows == data_.validation.get();
  const auto loss = [&](data::Batch batch) {
    const int64_t number = batch.position.batch - part.first;
    if (number >= 0 && number < part.count) skipped += static_cast<int64_t>(batch.skipped.size());
    name_skipped(batch);
    noise.seek(static_cast<std::uint64_t>(batch.position.batch) << kBatchPlaceBits);
    if (!own) batch.windows = apart(batch.windows);
    return batch_loss(batch, noise);
  };
  const auto terms = mean_loss(*windows, data_.validation_batches, loss, processes);
  if (processes != nullptr) {
    skipped = processes->sum(at::full({1}, skipped, at::kDouble)).item().to<int64_t>();
    if (skipped > 0) share_unreadable(*processes);
  }
  if (own && !terms.empty()) skipped_held_out_ = skipped;
  return terms;
}

std::string LoaderTask::position() const {
  const auto at = training_->position();
  const auto replayed = replay_ ? replay_->position() : data::LoaderPosition{};
  return write_position({{"epoch", at.epoch},
                         {"batch", at.batch},
                         {"replay_epoch", replayed.epoch},
                         {"replay_batch", replayed.batch},
                         {"updates", updates_},
                         {"skipped", skipped_},
                         {"noise", static_cast<int64_t>(noise_.position())},
                         {"skipped_validation", skipped_held_out_}},
                        unreadable_);
}

void LoaderTask::seek(const std::string& position) {
  unreadable_.clear();
  const auto values = read_position(position,
                                    {"epoch",
                                     "batch",
                                     "replay_epoch",
                                     "replay_batch",
                                     "updates",
                                     {"skipped", 0},
                                     "noise",
                                     {"skipped_validation", 0}},
                                    &unreadable_);
  // Another number of processes may have cut a batch into old and new a little otherwise.
  const auto within = [&](int64_t batch, int64_t batches, const char* windows) {
    if (batch < batches) return batch;
    log(LogLevel::warning,
        fmt::format("task '{}': the checkpoint stands at batch {} of an epoch of {} windows, which "
                    "has {} here, as with another number of processes: it goes on with the last",
                    name_, batch, windows, batches));
    return batches - 1;
  };
  training_->seek({values[0], replay_ ? within(values[1], batches_, "new") : values[1]});
  if (replay_) replay_->seek({values[2], within(values[3], replay_batches_, "replayed")});
  updates_ = values[4];
  skipped_ = values[5];
  noise_.seek(static_cast<std::uint64_t>(values[6]));
  skipped_held_out_ = values[7];
}

}  // namespace foresight::train
