// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/vjepa2_pretraining.hpp"

#include "foresight/losses/power.hpp"

namespace foresight::models {

Tensor masked_targets(const nn::VideoVit& target, const Tensor& clips) {
  at::NoGradGuard no_grad;
  return nn::normalise_tokens(target.forward(clips));
}

losses::Terms masked_prediction_loss(const VJepa2& model, const nn::VideoVit& target,
                                     const std::vector<MaskedClips>& groups, double exponent) {
  Tensor sum;
  int64_t pairs = 0;
  for (std::size_t group = 0; group < groups.size(); ++group) {
    const auto& [clips, masks] = groups[group];
    const auto targets = masked_targets(target, clips);
    for (const auto& mask : masks) {
      const auto context = model.encode_context(clips, mask.context);
      const auto predicted =
          model.predict_targets(context, mask.context, mask.targets, static_cast<int64_t>(group));
      const auto loss =
          losses::power_distance(predicted, nn::gather_tokens(targets, mask.targets), exponent);
      sum = sum.defined() ? sum + loss : loss;
      ++pairs;
    }
  }
  require(pairs > 0, ErrorCategory::invalid_argument, "masked prediction without clips or masks");
  losses::Terms terms;
  terms.add("masked_prediction", 1.0, sum / static_cast<double>(pairs));
  return terms;
}

}  // namespace foresight::models
