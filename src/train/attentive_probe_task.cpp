// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/attentive_probe_task.hpp"

#include "foresight/losses/widened.hpp"
#include "unchanged_pictures.hpp"

namespace foresight::train {

AttentiveProbeTask::AttentiveProbeTask(std::shared_ptr<models::AttentiveProbe> probe,
                                       FeatureCache::Encoder encode, TaskData data,
                                       const ProbeTargetOptions& target,
                                       std::shared_ptr<FeatureCache> features)
    : LoaderTask("vjepa2_probe", unchanged_pictures(std::move(data), features != nullptr)),
      probe_(std::move(probe)),
      encode_(std::move(encode)),
      target_((require_valid(target), target)),
      features_(std::move(features)) {
  require(probe_ != nullptr && encode_ != nullptr, ErrorCategory::invalid_argument,
          "AttentiveProbeTask needs a probe and an encoder");
  const auto& told = probe_->options();
  const bool classes = told.reading == models::ProbeReading::classes;
  require(told.outputs == target.outputs() && classes == (target.classes > 0),
          ErrorCategory::invalid_argument,
          "AttentiveProbeTask: a probe of " + std::to_string(told.outputs) + " " +
              std::string(enum_name(told.reading)) + " cannot learn " +
              std::to_string(target.outputs()) +
              (target.classes > 0 ? " classes" : " regressed columns"));
}

Tensor AttentiveProbeTask::tokens(const data::Batch& batch) const {
  const c10::NoGradGuard frozen;
  const auto seen = features_ ? features_->clip_features(batch) : encode_(batch.pixels);
  return seen.to(probe_->parameters().front().options().requires_grad(false));
}

losses::Terms AttentiveProbeTask::batch_loss(const data::Batch& batch, Noise&) {
  const auto states = batch.states.defined() ? batch.states.select(1, -1) : Tensor();
  const auto truth = probe_truth(states, target_, "AttentiveProbeTask");
  const auto read = losses::widened(probe_->forward(tokens(batch)));
  const auto [loss, error] = probe_loss(read, truth, target_);
  losses::Terms terms;
  if (target_.classes > 0) {
    terms.add("cross_entropy", 1.0, loss);
    terms.add("accuracy", 0.0, 1 - error);
  } else {
    terms.add("squared_error", 1.0, loss);
  }
  return terms;
}

}  // namespace foresight::train
