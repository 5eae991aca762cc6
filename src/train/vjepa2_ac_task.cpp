// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/vjepa2_ac_task.hpp"

#include "unchanged_pictures.hpp"

namespace foresight::train {
namespace {

constexpr int64_t kCameraWidth = 6;

}  // namespace

VJepa2AcTask::VJepa2AcTask(std::shared_ptr<models::VJepa2Ac> model, TaskData data,
                           std::shared_ptr<FeatureCache> features)
    : LoaderTask("vjepa2_ac", unchanged_pictures(std::move(data), features != nullptr)),
      model_(std::move(model)),
      features_(std::move(features)) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "VJepa2AcTask needs a model");
}

Tensor VJepa2AcTask::latents(const data::Batch& batch) const {
  if (features_) return features_->features(batch);
  const c10::NoGradGuard frozen;
  const auto device = model_->predictor().parameters().front().device();
  return model_->encode_images(model_->preprocess(batch.pixels.flatten(0, 1).to(device)))
      .unflatten(0, {batch.pixels.size(0), batch.pixels.size(1)});
}

losses::Terms VJepa2AcTask::batch_loss(const data::Batch& batch, Noise&) {
  const bool camera = model_->options().predictor.extrinsics;
  const auto expected = models::kPoseWidth + (camera ? kCameraWidth : 0);
  const auto recorded = batch.states.defined() ? batch.states.size(2) : 0;
  require(recorded == expected, ErrorCategory::invalid_argument,
          "VJepa2AcTask: the recordings have " + std::to_string(recorded) +
              " state columns, expected " + std::to_string(expected) +
              (camera ? ": a pose and a camera's" : ": a pose") +
              "; choose them with DatasetOptions.states (--states)");
  const auto like = model_->predictor().parameters().front();
  const auto poses = batch.states.narrow(2, 0, models::kPoseWidth);
  const auto steps = poses.size(1) - 1;
  const auto actions =
      models::pose_difference(poses.narrow(1, 0, steps), poses.narrow(1, 1, steps));
  return model_->loss_of_latents(
      latents(batch), actions.to(like), poses.to(like),
      camera ? batch.states.narrow(2, models::kPoseWidth, kCameraWidth).to(like) : Tensor());
}

}  // namespace foresight::train
