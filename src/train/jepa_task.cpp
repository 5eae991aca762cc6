// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/jepa_task.hpp"

#include "mean_terms.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

// Noise streams of one seed: losses while training, losses while validating.
constexpr std::uint64_t kTrainingStream = 1, kValidationStream = 2;

}  // namespace

JepaTask::JepaTask(std::shared_ptr<models::Jepa> model, std::unique_ptr<data::Loader> training,
                   std::unique_ptr<data::Loader> validation, int64_t validation_batches,
                   std::uint64_t seed)
    : model_(std::move(model)),
      training_(std::move(training)),
      validation_(std::move(validation)),
      validation_batches_(validation_batches),
      seed_(seed),
      noise_(seed, kTrainingStream) {
  require(model_ && training_, ErrorCategory::invalid_argument,
          "JepaTask needs a model and a training loader");
}

losses::Terms JepaTask::batch_loss(const data::Batch& batch, Noise& noise) {
  const auto device = model_->parameters().front().device();
  return model_->loss(batch.pixels.to(device), batch.actions.to(device), noise);
}

losses::Terms JepaTask::loss() {
  auto batch = training_->next();
  if (!batch) batch = training_->next();  // the end of an epoch: on to the next
  samples_ = batch->pixels.size(0);
  return batch_loss(*batch, noise_);
}

losses::Terms JepaTask::validate() {
  if (!validation_) return {};
  PhiloxNoise noise(seed_, kValidationStream);
  validation_->seek({0, 0});
  MeanTerms mean;
  for (int64_t i = 0; i < validation_batches_; ++i) {
    const auto batch = validation_->next();
    if (!batch) break;
    mean.add(batch_loss(*batch, noise), batch->pixels.size(0));
  }
  return mean.terms();
}

std::string JepaTask::position() const {
  const auto at = training_->position();
  return write_position({{"epoch", at.epoch},
                         {"batch", at.batch},
                         {"noise", static_cast<int64_t>(noise_.position())}});
}

void JepaTask::seek(const std::string& position) {
  const auto values = read_position(position, {"epoch", "batch", "noise"});
  training_->seek({values[0], values[1]});
  noise_.seek(static_cast<std::uint64_t>(values[2]));
}

}  // namespace foresight::train
