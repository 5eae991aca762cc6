// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/masked_video_task.hpp"

#include <cmath>

#include "foresight/nn/ema.hpp"
#include "foresight/nn/state_dict.hpp"
#include "mean_terms.hpp"
#include "position.hpp"

namespace foresight::train {
namespace {

// Noise streams of one seed: masks while training, masks while validating.
constexpr std::uint64_t kTrainingStream = 1, kValidationStream = 2;

std::shared_ptr<models::VJepa2> required(std::shared_ptr<models::VJepa2> model) {
  require(model != nullptr, ErrorCategory::invalid_argument, "MaskedVideoTask needs a model");
  return model;
}

}  // namespace

std::vector<std::string> MaskedVideoOptions::validate() const {
  return Rules("MaskedVideoOptions")
      .nested("short_range", short_range.validate())
      .nested("long_range", long_range.validate())
      .check(momentum >= 0 && momentum < 1, "momentum", momentum, "must be in [0, 1)")
      .check(std::isfinite(loss_exponent) && loss_exponent > 0, "loss_exponent", loss_exponent,
             "must be positive")
      .problems();
}

MaskedVideoTask::MaskedVideoTask(std::shared_ptr<models::VJepa2> model,
                                 std::unique_ptr<data::Loader> training,
                                 std::unique_ptr<data::Loader> validation,
                                 int64_t validation_batches, const MaskedVideoOptions& options,
                                 std::uint64_t seed)
    : model_(required(std::move(model))),
      training_(std::move(training)),
      validation_(std::move(validation)),
      validation_batches_(validation_batches),
      options_(options),
      short_range_(options.short_range, model_->options().encoder.grid()),
      long_range_(options.long_range, model_->options().encoder.grid()),
      seed_(seed),
      noise_(seed, kTrainingStream) {
  require_valid(options);
  require(training_ != nullptr, ErrorCategory::invalid_argument,
          "MaskedVideoTask needs a training loader");
  target_ = std::make_shared<nn::VideoVit>(model_->options().encoder);
  const auto like = model_->parameters().front();
  target_->to(like.device(), like.scalar_type());
  nn::copy_state(model_->encoder(), *target_);
  for (auto& parameter : target_->parameters()) parameter.requires_grad_(false);
}

losses::Terms MaskedVideoTask::batch_loss(const data::Batch& batch, Noise& noise) const {
  const auto& encoder = model_->options().encoder;
  require(batch.pixels.size(1) == encoder.frames, ErrorCategory::invalid_argument,
          "clips of " + std::to_string(batch.pixels.size(1)) +
              " frames, expected the model's VideoVitOptions.frames = " +
              std::to_string(encoder.frames));
  const auto device = model_->parameters().front().device();
  const auto clips = batch.pixels.size(0);
  models::MaskedClips group{model_->preprocess(batch.pixels.to(device)),
                            {short_range_.sample(clips, noise), long_range_.sample(clips, noise)}};
  for (auto& masks : group.masks) {
    masks.context = masks.context.to(device);
    masks.targets = masks.targets.to(device);
  }
  return models::masked_prediction_loss(*model_, *target_, {group}, options_.loss_exponent);
}

losses::Terms MaskedVideoTask::loss() {
  auto batch = training_->next();
  if (!batch) batch = training_->next();  // the end of an epoch: on to the next
  samples_ = batch->pixels.size(0);
  return batch_loss(*batch, noise_);
}

void MaskedVideoTask::updated() { nn::ema_update(*target_, model_->encoder(), options_.momentum); }

losses::Terms MaskedVideoTask::validate() {
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

std::string MaskedVideoTask::position() const {
  const auto at = training_->position();
  return write_position({{"epoch", at.epoch},
                         {"batch", at.batch},
                         {"noise", static_cast<int64_t>(noise_.position())}});
}

void MaskedVideoTask::seek(const std::string& position) {
  const auto values = read_position(position, {"epoch", "batch", "noise"});
  training_->seek({values[0], values[1]});
  noise_.seek(static_cast<std::uint64_t>(values[2]));
}

io::NamedTensors MaskedVideoTask::extra_tensors() { return nn::state_dict(*target_); }

}  // namespace foresight::train
