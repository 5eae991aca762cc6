// SPDX-License-Identifier: Apache-2.0
// Training an attentive probe on a frozen encoder's tokens (arXiv 2506.09985, section 6): what can
// be read off a clip, a class or numbers.
#pragma once

#include <memory>

#include "foresight/models/attentive_probe.hpp"
#include "foresight/train/feature_cache.hpp"
#include "foresight/train/loader_task.hpp"
#include "foresight/train/probe_target.hpp"

namespace foresight::train {

/// Terms: "cross_entropy" and, only reported, "accuracy"; or "squared_error" of standardised
/// columns: 1 is what their mean alone would get, so that r2 is about 1 - squared_error. The target
/// of a clip is that of its last frame. The encoder is frozen: module() is the probe alone.
class FORESIGHT_API AttentiveProbeTask final : public LoaderTask {
 public:
  /// `encode`: RGB bytes of clips [B,T,H,W,3] -> tokens [B,n,D]. `features`: a cache of whole
  /// windows of the same data set that encodes likewise; null: every batch is encoded anew. Throws
  /// Error: invalid_option; invalid_argument without a probe or an encoder, for a probe that does
  /// not give what `target` asks for, or for features together with TaskData.augmentation, which
  /// changes the pictures.
  AttentiveProbeTask(std::shared_ptr<models::AttentiveProbe> probe, FeatureCache::Encoder encode,
                     TaskData data, const ProbeTargetOptions& target,
                     std::shared_ptr<FeatureCache> features = nullptr);

  torch::nn::Module& module() override { return *probe_; }

  /// Tokens [B,n,D] of a batch's clips, without gradient.
  Tensor tokens(const data::Batch& batch) const;

 private:
  losses::Terms batch_loss(const data::Batch& batch, Noise& noise) override;

  std::shared_ptr<models::AttentiveProbe> probe_;
  FeatureCache::Encoder encode_;
  ProbeTargetOptions target_;
  std::shared_ptr<FeatureCache> features_;
};

}  // namespace foresight::train
