// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/dino_wm_task.hpp"

namespace foresight::train {

DinoWmTask::DinoWmTask(std::shared_ptr<models::DinoWm> model, TaskData data)
    : LoaderTask("dino_wm", std::move(data)), model_(std::move(model)) {
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
                " (choose them with DatasetOptions.states)");
    proprio = batch.states.to(device);
  }
  return model_->loss(batch.pixels.to(device), proprio, batch.actions.to(device));
}

}  // namespace foresight::train
