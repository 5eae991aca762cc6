// SPDX-License-Identifier: Apache-2.0
// Pre-training an image encoder as LeJEPA does (arXiv 2511.08544), and watching meanwhile what a
// linear probe reads off it: the loss alone does not tell whether the features are any good.
#pragma once

#include <string>
#include <vector>

#include "foresight/models/lejepa.hpp"
#include "foresight/train/image_views.hpp"
#include "foresight/train/loader_task.hpp"
#include "foresight/train/probe_target.hpp"

namespace foresight::train {

struct FORESIGHT_API LeJepaTaskOptions {
  ImageViewOptions views = {};
  ProbeTargetOptions probe = {};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("views", self.views, "crops and colours");
    visit("probe", self.probe, "what is read off the features meanwhile");
  }
  std::vector<std::string> validate() const;
};

/// Terms: "invariance" and "sigreg", with a probe also "probe" (cross-entropy, or mean squared
/// error of standardised columns) and, only reported, "probe_error" (part of the pictures that are
/// classed wrongly, or root mean squared error); both have the role of a probe, so that no weights
/// are chosen by them. The probe is a linear layer behind a norm without weights, on features that
/// pass it no gradient to the encoder (train without AdamWOptions.clip: its norm is that of both);
/// it sees one centred view without changes. Batch statistics: SIGReg and the projector's norm look
/// at the B pictures of a batch, so that micro-batches are not one batch of their sum.
class FORESIGHT_API LeJepaTask final : public LoaderTask {
 public:
  /// Windows of one frame; their actions are not read. Throws Error(invalid_option), or
  /// Error(invalid_argument) without a model or for views that are no whole number of patches.
  LeJepaTask(std::shared_ptr<models::LeJepa> model, TaskData data,
             const LeJepaTaskOptions& options);

  /// "model.*" and "probe.*".
  torch::nn::Module& module() override { return *all_; }
  const models::LeJepa& model() const { return *model_; }

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;
  Tensor probe_features(const Tensor& pixels) const;

  std::shared_ptr<models::LeJepa> model_;
  LeJepaTaskOptions options_;
  torch::nn::Linear probe_{nullptr};
  std::shared_ptr<torch::nn::Module> all_;
};

}  // namespace foresight::train
