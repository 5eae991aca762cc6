// SPDX-License-Identifier: Apache-2.0
// The training loss of V-JEPA 2-AC (arXiv 2506.09985, equations 2 to 4): one step ahead from true
// frames, and a few steps ahead with predictions fed back.
#include "foresight/losses/power.hpp"
#include "foresight/models/vjepa2_ac.hpp"

namespace foresight::models {
namespace {

nn::FrameSequence frames_of(const nn::FrameSequence& sequence, int64_t first, int64_t count,
                            const Tensor& tokens) {
  const auto part = [&](const Tensor& x) {
    return x.defined() ? x.narrow(1, first, count) : Tensor();
  };
  return {tokens, part(sequence.actions), part(sequence.states), part(sequence.extrinsics)};
}

}  // namespace

// Actions, poses and cameras are the true ones in both; only the tokens are fed back.
VJepa2Ac::Predictions VJepa2Ac::training_predictions(const nn::FrameSequence& frames) const {
  const auto steps = frames.actions.size(1);  // frames that are left by an action
  const auto known = frames.tokens.narrow(1, 0, steps);
  const auto forced = predict(frames_of(frames, 0, steps, known));
  const auto start = options_.rollout_start == RolloutStart::first_prediction ? 0 : 1;
  std::vector<Tensor> imagined{forced.select(1, start)};
  nn::FrameMemory memory;
  for (int64_t k = 1; k < options_.auto_steps; ++k) {
    // The first call brings the true frame 0 along, later ones only the newest prediction.
    const auto tokens =
        k == 1 ? at::stack({known.select(1, 0), imagined[0]}, 1) : imagined.back().unsqueeze(1);
    const auto count = tokens.size(1), first = k + 1 - count;
    imagined.push_back(normalised(
        predictor_->next(frames_of(frames, first, count, tokens), first, nullptr, &memory)));
  }
  return {forced, at::stack(imagined, 1)};
}

losses::Terms VJepa2Ac::loss_of_latents(const Tensor& latents, const Tensor& actions,
                                        const Tensor& poses, const Tensor& cameras) const {
  check_shape("latents", latents, {kAny, kAny, spec_.tokens, spec_.channels}, "[B,T,P,D]");
  const auto batch = latents.size(0), length = latents.size(1);
  const auto least =
      options_.auto_steps + (options_.rollout_start == RolloutStart::first_prediction ? 1 : 2);
  require(length >= least, ErrorCategory::invalid_argument,
          "clips of T = " + std::to_string(length) + " frames, expected at least " +
              std::to_string(least) +
              " for VJepa2AcOptions.auto_steps = " + std::to_string(options_.auto_steps));
  check_shape("poses", poses, {batch, length, kPoseWidth}, "[B,T,7]");
  const auto predictions = training_predictions(
      {latents, checked_actions(actions, {batch, length - 1}), poses, cameras});
  const auto distance = [&](const Tensor& predicted) {
    return losses::power_distance(predicted, latents.narrow(1, 1, predicted.size(1)),
                                  options_.loss_exponent);
  };
  losses::Terms terms;
  terms.add("teacher_forced", options_.loss.teacher_forced, distance(predictions.teacher_forced));
  terms.add("rollout", options_.loss.rollout, distance(predictions.rollout));
  return terms;
}

}  // namespace foresight::models
