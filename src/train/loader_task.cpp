// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/loader_task.hpp"

#include "mean_terms.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

// Noise streams of one seed: losses while training, losses while validating.
constexpr std::uint64_t kBatchStream = 1, kHeldOutStream = 2;

// The end of an epoch is no batch: on to the next epoch.
data::Batch next_batch(data::Loader& loader) {
  auto batch = loader.next();
  if (!batch) batch = loader.next();
  return std::move(*batch);
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
  batch.windows = at::cat({batch.windows, more.windows});
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
}

losses::Terms LoaderTask::loss() {
  auto batch = next_batch(*data_.training);
  if (data_.replay) batch = joined(std::move(batch), next_batch(*data_.replay));
  samples_ = batch.pixels.size(0);
  return batch_loss(batch, noise_);
}

losses::Terms LoaderTask::validate() {
  if (!data_.validation) return {};
  PhiloxNoise noise(data_.seed, kHeldOutStream);
  data_.validation->seek({0, 0});
  return mean_loss(*data_.validation, data_.validation_batches,
                   [&](const data::Batch& batch) { return batch_loss(batch, noise); });
}

std::string LoaderTask::position() const {
  const auto at = data_.training->position();
  const auto replayed = data_.replay ? data_.replay->position() : data::LoaderPosition{};
  return write_position({{"epoch", at.epoch},
                         {"batch", at.batch},
                         {"replay_epoch", replayed.epoch},
                         {"replay_batch", replayed.batch},
                         {"updates", updates_},
                         {"noise", static_cast<int64_t>(noise_.position())}});
}

void LoaderTask::seek(const std::string& position) {
  const auto values = read_position(
      position, {"epoch", "batch", "replay_epoch", "replay_batch", "updates", "noise"});
  data_.training->seek({values[0], values[1]});
  if (data_.replay) data_.replay->seek({values[2], values[3]});
  updates_ = values[4];
  noise_.seek(static_cast<std::uint64_t>(values[5]));
}

}  // namespace foresight::train
