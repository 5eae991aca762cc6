// SPDX-License-Identifier: Apache-2.0
// Pre-training an image encoder as I-JEPA does (arXiv 2301.08243): from a large visible block the
// predictor gives, for each of a few hidden blocks, what a slowly moving copy of the encoder says
// about it. No labels, no actions, no augmentation of pixels.
#pragma once

#include "foresight/losses/prediction.hpp"
#include "foresight/models/ijepa.hpp"
#include "foresight/models/image_block_masks.hpp"
#include "foresight/train/loader_task.hpp"
#include "foresight/train/probe_target.hpp"

namespace foresight::train {

/// Defaults are I-JEPA's, but for the momentum's schedule, whose length is the run's.
struct FORESIGHT_API IJepaOptions {
  models::ImageBlockMaskOptions masks = {};
  double momentum = 0.996;      ///< of the target encoder, at first
  double final_momentum = 1.0;  ///< after `momentum_steps`, linearly in between
  int64_t momentum_steps = 0;   ///< updates; 0: the first momentum all along
  losses::Distance distance = losses::Distance::l2;
  ProbeTargetOptions probe = {};  ///< what is read off the features meanwhile

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("masks", self.masks, "context and target blocks");
    visit("momentum", self.momentum, "of the target encoder, at first");
    visit("final_momentum", self.final_momentum, "after momentum_steps");
    visit("momentum_steps", self.momentum_steps,
          "updates; 0: the first momentum all along, with `foresight train` training.steps");
    visit("distance", self.distance, "of predicted and target patches: l2, l1 or smooth_l1");
    visit("probe", self.probe, "what is read off the features meanwhile");
  }
  std::vector<std::string> validate() const;
};

using models::ijepa_huge;  // where these were before models/ijepa.hpp
using models::ijepa_tiny;

/// The target encoder starts as a copy of the model's and follows it after every update; it is in
/// checkpoints. It is also what I-JEPA uses afterwards as the encoder: see target(). With a probe
/// there are also the terms "probe" (cross-entropy, or mean squared error of standardised columns)
/// and, only reported, "probe_error" (part of the pictures that are classed wrongly, or root mean
/// squared error), of no weight in what training.keep chooses by: a linear layer behind a norm
/// without weights on the mean of the target encoder's tokens, to which it passes no gradient. It
/// sees the pictures that the target encoder sees, random crops where there are any (train without
/// AdamWOptions.clip: its norm is that of both).
class FORESIGHT_API IJepaTask final : public LoaderTask {
 public:
  /// Windows of one frame; their actions are not read. Throws Error(invalid_option), or
  /// Error(invalid_argument) without a model or for one of clips.
  IJepaTask(std::shared_ptr<models::VJepa2> model, TaskData data, const IJepaOptions& options = {});

  /// The model, or with a probe "model.*" and "probe.*".
  torch::nn::Module& module() override { return *all_; }
  void updated() override;
  io::NamedTensors extra_tensors() override;

  const nn::VideoVit& target() const { return *target_; }
  /// Of the next update.
  double momentum() const;
  /// One term "masked_prediction" of encoder input [B,3,h,w]: mean distance of the predicted
  /// patches of all target blocks to the target encoder's, which are normalised over channels
  /// without weights.
  losses::Terms loss_of_blocks(const Tensor& images, const models::ImageBlocks& blocks) const;

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;
  // loss_of_blocks() with the target encoder's tokens [B,n,D] of the images.
  losses::Terms block_loss(const Tensor& images, const Tensor& tokens,
                           const models::ImageBlocks& blocks) const;

  std::shared_ptr<models::VJepa2> model_;
  std::shared_ptr<nn::VideoVit> target_;
  IJepaOptions options_;
  models::ImageBlockMasks masks_;
  torch::nn::Linear probe_{nullptr};
  std::shared_ptr<torch::nn::Module> all_;
};

}  // namespace foresight::train
