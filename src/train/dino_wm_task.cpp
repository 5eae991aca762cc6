// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/dino_wm_task.hpp"

#include "unchanged_pictures.hpp"

namespace foresight::train {

DinoWmTask::DinoWmTask(std::shared_ptr<models::DinoWm> model, TaskData data,
                       std::shared_ptr<FeatureCache> features)
    : LoaderTask("dino_wm", unchanged_pictures(std::move(data), features != nullptr)),
      model_(std::move(model)),
      features_(std::move(features)) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "DinoWmTask needs a model");
}

losses::Terms DinoWmTask::batch_loss(const data::Batch& batch, Noise&) {
  const auto device = model_->predictor().parameters().front().device();
  const auto measured = model_->options().proprio.dim;
  Tensor proprio;
  if (measured > 0) {
    const auto recorded = batch.states.defined() ? batch.states.size(2) : 0;
    require(recorded == measured, ErrorCategory::invalid_argument,
            "DinoWmTask: the recordings have " + std::to_string(recorded) +
                " state columns, expected ProprioOptions.dim = " + std::to_string(measured) +
                "; choose them with DatasetOptions.states (--states)");
    proprio = batch.states.to(device);
  }
  const auto actions = batch.actions.to(device);
  if (features_) return model_->loss_of_features(features_->features(batch), proprio, actions);
  return model_->loss(batch.pixels.to(device), proprio, actions);
}

}  // namespace foresight::train
