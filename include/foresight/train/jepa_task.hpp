// SPDX-License-Identifier: Apache-2.0
// Training a Jepa (LeWM, PLDM) on windows of recorded video and actions, encoder and predictor
// together.
#pragma once

#include "foresight/models/jepa.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

class FORESIGHT_API JepaTask final : public LoaderTask {
 public:
  JepaTask(std::shared_ptr<models::Jepa> model, TaskData data);

  torch::nn::Module& module() override { return *model_; }
  /// The model and, where its loss has weight, the inverse-dynamics head: upstream clips the two
  /// one by one.
  std::vector<ClippingGroup> clipping_groups() const override;

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;

  std::shared_ptr<models::Jepa> model_;
};

}  // namespace foresight::train
