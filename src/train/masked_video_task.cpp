// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/masked_video_task.hpp"

#include <cmath>

#include "foresight/core/replica_part.hpp"
#include "foresight/nn/ema.hpp"
#include "foresight/nn/state_dict.hpp"
#include "learned_pictures.hpp"
#include "moved_together.hpp"
#include "target_encoder.hpp"

namespace foresight::train {
namespace {

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

MaskedVideoTask::MaskedVideoTask(std::shared_ptr<models::VJepa2> model, TaskData data,
                                 const MaskedVideoOptions& options)
    : LoaderTask("vjepa2", std::move(data)),
      model_(required(std::move(model))),
      target_(target_encoder(*model_)),
      options_(options),
      short_range_(options.short_range, model_->options().encoder.grid()),
      long_range_(options.long_range, model_->options().encoder.grid()) {
  require_valid(options);
}

losses::Terms MaskedVideoTask::batch_loss(const data::Batch& batch, Noise& noise) {
  const auto& encoder = model_->options().encoder;
  require(batch.pixels.size(1) == encoder.frames, ErrorCategory::invalid_argument,
          "clips of " + std::to_string(batch.pixels.size(1)) +
              " frames, expected the model's VideoVitOptions.frames = " +
              std::to_string(encoder.frames));
  const auto device = model_->parameters().front().device();
  // Masks of all processes' clips are cut to one length, so they are drawn for all of them.
  const auto clips = batch.pixels.size(0), all = clips * replica_count();
  const auto near = short_range_.sample(all, noise), far = long_range_.sample(all, noise);
  std::vector<Tensor> own;
  for (const auto& ids : {near.context, near.targets, far.context, far.targets})
    own.push_back(ids.narrow(0, clips * replica_rank(), clips));
  own = moved_together(own, device);
  const models::MaskedClips group{
      learned_pictures(*model_, batch.pixels.to(device), augmentation()),
      {{own[0], own[1]}, {own[2], own[3]}}};
  return models::masked_prediction_loss(*model_, *target_, {group}, options_.loss_exponent);
}

void MaskedVideoTask::updated() {
  nn::ema_update(*target_, model_->encoder(), options_.momentum);
  LoaderTask::updated();
}

io::NamedTensors MaskedVideoTask::extra_tensors() { return nn::state_dict(*target_); }

}  // namespace foresight::train
