// SPDX-License-Identifier: Apache-2.0
// Training a DinoWm on windows of recorded video and actions: the backbone stays as it is, the
// predictor and the two embeddings learn the next frame's features (arXiv 2411.04983).
#pragma once

#include "foresight/models/dino_wm.hpp"
#include "foresight/train/feature_cache.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

/// The loss is DinoWm::loss(): teacher-forced over the window and, where the model's options weight
/// it, a few steps of its own predictions. Proprioception is read from the recordings' state
/// columns, all of them, raw; ProprioOptions.mean and .std normalise them.
class FORESIGHT_API DinoWmTask final : public LoaderTask {
 public:
  /// Windows must be longer than the steps that the loss looks ahead. `features`: of the backbone's
  /// encode_pixels() for the same data set; null: every batch is encoded anew. Throws
  /// Error(invalid_argument) without a model, or for features together with TaskData.augmentation,
  /// which changes the pictures.
  DinoWmTask(std::shared_ptr<models::DinoWm> model, TaskData data,
             std::shared_ptr<FeatureCache> features = nullptr);

  torch::nn::Module& module() override { return *model_; }

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;

  std::shared_ptr<models::DinoWm> model_;
  std::shared_ptr<FeatureCache> features_;
};

}  // namespace foresight::train
