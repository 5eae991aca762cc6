// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/jepa_task.hpp"

namespace foresight::train {

JepaTask::JepaTask(std::shared_ptr<models::Jepa> model, TaskData data)
    : LoaderTask("jepa", std::move(data)), model_(std::move(model)) {
  require(model_ != nullptr, ErrorCategory::invalid_argument, "JepaTask needs a model");
}

std::vector<ClippingGroup> JepaTask::clipping_groups() const {
  if (model_->options().loss.inverse_dynamics == 0) return {};
  ClippingGroup of_model, of_head;
  for (const auto& item : model_->named_parameters())
    (item.key().starts_with("idm.") ? of_head : of_model).parameters.push_back(item.value());
  return {of_model, of_head};
}

losses::Terms JepaTask::batch_loss(const data::Batch& batch, Noise& noise) {
  const auto device = model_->parameters().front().device();
  return model_->loss(batch.pixels.to(device), batch.actions.to(device), noise);
}

}  // namespace foresight::train
