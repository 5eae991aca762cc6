// SPDX-License-Identifier: Apache-2.0
// Training a V-JEPA 2-AC on recorded video of a robot arm and its gripper's poses: the encoder
// stays as it is, the predictor learns one step ahead and a few steps of its own predictions (arXiv
// 2506.09985, section 3).
#pragma once

#include "foresight/models/vjepa2_ac.hpp"
#include "foresight/train/feature_cache.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

/// Poses are read from the recordings' state columns: seven (metres, radians, opening in [0,1]),
/// and for a model with extrinsics six more, the camera's pose. Actions are the changes of the pose
/// between a window's frames, as the model counts them; recorded action columns are not read.
class FORESIGHT_API VJepa2AcTask final : public LoaderTask {
 public:
  /// Windows must be longer than VJepa2AcOptions.auto_steps. `features`: of encode_images() for the
  /// same data set; null: every batch is encoded anew. Throws Error(invalid_argument) without a
  /// model, or for features together with TaskData.augmentation, which changes the pictures.
  VJepa2AcTask(std::shared_ptr<models::VJepa2Ac> model, TaskData data,
               std::shared_ptr<FeatureCache> features = nullptr);

  torch::nn::Module& module() override { return *model_; }

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;
  Tensor latents(const data::Batch& batch) const;

  std::shared_ptr<models::VJepa2Ac> model_;
  std::shared_ptr<FeatureCache> features_;
};

}  // namespace foresight::train
