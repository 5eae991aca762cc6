// SPDX-License-Identifier: Apache-2.0
// Pre-training a V-JEPA 2 on windows of recorded video: no actions, no labels.
#pragma once

#include "foresight/models/vjepa2_pretraining.hpp"
#include "foresight/train/loader_task.hpp"

namespace foresight::train {

/// Defaults are V-JEPA 2's.
struct FORESIGHT_API MaskedVideoOptions {
  models::MultiblockMaskOptions short_range = models::MultiblockMaskOptions::short_range();
  models::MultiblockMaskOptions long_range = models::MultiblockMaskOptions::long_range();
  double momentum = 0.99925;   ///< of the target encoder; runs of thousands of steps want less
  double loss_exponent = 1.0;  ///< of the absolute differences

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("short_range", self.short_range, "the first masks of every clip");
    visit("long_range", self.long_range, "the second masks of every clip");
    visit("momentum", self.momentum, "of the target encoder");
    visit("loss_exponent", self.loss_exponent, "of the absolute differences");
  }
  std::vector<std::string> validate() const;
};

/// Every batch is masked twice, with short-range and with long-range blocks. The target encoder
/// starts as a copy of the model's and follows it after every update; it is in checkpoints.
class FORESIGHT_API MaskedVideoTask final : public LoaderTask {
 public:
  /// The loaders' windows must have the model's native number of frames; their actions are not
  /// read.
  MaskedVideoTask(std::shared_ptr<models::VJepa2> model, TaskData data,
                  const MaskedVideoOptions& options = {});

  torch::nn::Module& module() override { return *model_; }
  void updated() override;
  io::NamedTensors extra_tensors() override;

  const nn::VideoVit& target() const { return *target_; }

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;

  std::shared_ptr<models::VJepa2> model_;
  std::shared_ptr<nn::VideoVit> target_;
  MaskedVideoOptions options_;
  models::MultiblockMasks short_range_, long_range_;
};

}  // namespace foresight::train
