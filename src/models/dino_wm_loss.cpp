// SPDX-License-Identifier: Apache-2.0
// Training losses of DinoWm.
#include <algorithm>

#include "foresight/losses/prediction.hpp"
#include "foresight/losses/widened.hpp"
#include "foresight/models/dino_wm.hpp"
#include "history.hpp"

namespace foresight::models {

losses::Terms DinoWm::loss(const Tensor& pixels, const Tensor& proprio,
                           const Tensor& blocks) const {
  check_shape("pixels", pixels, {kAny, kAny, kAny, kAny, 3}, "[B,T,H,W,3]");
  return loss_of_features(encode_pixels(pixels), proprio, blocks);
}

losses::Terms DinoWm::loss_of_features(const Tensor& features, const Tensor& proprio,
                                       const Tensor& blocks) const {
  check_shape("features", features, {kAny, kAny, spec_.tokens, spec_.channels}, "[B,T,P,D]");
  const auto batch = features.size(0), length = features.size(1);
  const auto& weight = options_.loss;
  const auto needed = weight.rollout > 0 ? weight.rollout_steps : 1;
  require(length > needed, ErrorCategory::invalid_argument,
          "clips of T = " + std::to_string(length) + " frames, expected more than " +
              std::to_string(needed));
  if (has_proprio())
    check_shape("proprio", proprio, {batch, length, options_.proprio.dim}, "[B,T,N]");
  const auto frames = join(features, has_proprio() ? encode_proprio(proprio) : Tensor());
  const auto given = checked_actions(blocks, {batch, length - 1}, features);
  losses::Terms terms;
  if (weight.prediction > 0) add_prediction(terms, frames, given);
  if (weight.rollout > 0) terms.add("rollout", weight.rollout, rollout_loss(frames, given));
  return terms;
}

Tensor DinoWm::predict(const Tensor& frames, const Tensor& blocks, nn::Mode mode) const {
  return predictor_->forward(frames, embed_actions(blocks), mode);
}

// Every frame but the last predicts the next one, all in one causal pass; patches and
// proprioception count alike, channel by channel. A clip longer than the window is cut into all
// windows it contains.
void DinoWm::add_prediction(losses::Terms& terms, const Tensor& frames,
                            const Tensor& blocks) const {
  const auto length = frames.size(1) - 1;
  const auto window = std::min(length, options_.history);
  auto from = frames.narrow(1, 0, length), to = frames.narrow(1, 1, length).detach(), c = blocks;
  if (window < length) {
    const auto count = length - window + 1;
    from = runs(from, window, count);
    to = runs(to, window, count);
    c = runs(c, window, count);
  }
  const auto predicted = predict(from, c, nn::mode_of(*this));
  terms.add("prediction", options_.loss.prediction, losses::prediction(predicted, to));
  if (!has_proprio()) return;
  const auto error = (losses::widened(predicted) - losses::widened(to)).detach().square();
  const auto patches = separate(error).features;
  const bool token = error.size(2) > spec_.tokens;
  const auto rest = token ? error.slice(2, spec_.tokens) : error.slice(3, spec_.channels);
  terms.add("visual", 0.0, patches.mean());
  terms.add("proprio", 0.0, rest.mean());
}

// From every start with a full context, as planning does it, but no gradient passes through a
// prediction that is fed back. Step 1 is the one-step term's business.
Tensor DinoWm::rollout_loss(const Tensor& frames, const Tensor& blocks) const {
  const auto mode = nn::mode_of(*this);
  const auto length = frames.size(1), steps = options_.loss.rollout_steps;
  const auto context = std::min(options_.history, length - steps);
  const auto starts = length - steps - context + 1;
  auto window = runs(frames, context, starts);
  const auto c = embed_actions(runs(blocks, context - 1 + steps, starts));
  std::vector<Tensor> predicted, target;
  for (int64_t k = 1; k <= steps; ++k) {
    const auto end = context + k - 1;
    const auto seen = std::min(end, options_.history);
    const auto next =
        predictor_->last(window.narrow(1, end - seen, seen), c.narrow(1, end - seen, seen), mode);
    window = at::cat({window, next.detach().unsqueeze(1)}, 1);
    if (k == 1) continue;
    predicted.push_back(next.unflatten(0, {frames.size(0), starts}));
    target.push_back(frames.narrow(1, end, starts).detach());
  }
  return losses::multi_step_prediction(predicted, target);
}

}  // namespace foresight::models
