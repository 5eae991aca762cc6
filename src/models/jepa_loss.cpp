// SPDX-License-Identifier: Apache-2.0
// Training losses of Jepa.
#include <algorithm>

#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/straightening.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/vicreg.hpp"
#include "foresight/losses/widened.hpp"
#include "foresight/models/jepa.hpp"
#include "history.hpp"

namespace foresight::models {

losses::Terms Jepa::loss(const Tensor& pixels, const Tensor& blocks, Noise& noise) {
  check_shape("pixels", pixels, {kAny, kAny, kAny, kAny, 3}, "[B,T,H,W,3]");
  const auto images = preprocess(pixels.flatten(0, 1));
  return loss_of_images(images.unflatten(0, {pixels.size(0), pixels.size(1)}), blocks, noise);
}

losses::Terms Jepa::loss_of_images(const Tensor& images, const Tensor& blocks, Noise& noise) {
  check_shape("images", images, {kAny, kAny, 3, kAny, kAny}, "[B,T,3,h,w]");
  return loss_of_latents(encode_images(images, nn::mode_of(*this)), blocks, noise);
}

losses::Terms Jepa::loss_of_latents(const Tensor& latents, const Tensor& blocks, Noise& noise) {
  require(!fixed_point_, ErrorCategory::unsupported,
          "a Jepa in fixed point only infers: train the model it was copied from");
  check_shape("latents", latents, {kAny, kAny, options_.latent}, "[B,T,D]");
  require(latents.size(1) > options_.predicted_steps, ErrorCategory::invalid_argument,
          "clips of T = " + std::to_string(latents.size(1)) +
              " frames, expected more than JepaOptions.predicted_steps = " +
              std::to_string(options_.predicted_steps));
  const auto given = checked_actions(blocks, {latents.size(0), latents.size(1) - 1}, latents);
  const auto conditions = embed_actions(given);
  const auto targets = blocks.to(losses::widened_type(latents));
  const auto& weight = options_.loss;
  losses::Terms terms;
  const auto add = [&](const char* name, double w, auto&& value) {
    if (w != 0) terms.add(name, w, value());
  };
  add("prediction", weight.prediction, [&] { return one_step_loss(latents, conditions); });
  add("rollout", weight.rollout, [&] { return rollout_loss(latents, conditions); });
  add("sigreg", weight.sigreg,
      [&] { return losses::sigreg(latents.transpose(0, 1), weight.sigreg_options, noise); });
  add("straightening", weight.straightening, [&] { return losses::straightening(latents); });
  add("std", weight.std, [&] { return losses::vicreg_std(latents, weight.variance_epsilon); });
  add("std_t", weight.std_t,
      [&] { return losses::vicreg_std_t(latents, weight.variance_epsilon); });
  add("cov", weight.cov, [&] { return losses::vicreg_cov(latents); });
  add("cov_t", weight.cov_t, [&] { return losses::vicreg_cov_t(latents); });
  add("temporal", weight.temporal, [&] { return losses::temporal_similarity(latents); });
  add("inverse_dynamics", weight.inverse_dynamics,
      [&] { return losses::inverse_dynamics(infer_actions(latents), targets); });
  return terms;
}

// Every frame but the last predicts the next one, all in one causal pass. A clip longer than the
// predictor's window is cut into all windows it contains.
Tensor Jepa::one_step_loss(const Tensor& latents, const Tensor& conditions) const {
  const auto mode = nn::mode_of(*this);
  const auto length = latents.size(1) - 1;
  const auto window = std::min(length, predictor_->max_length());
  auto from = latents.narrow(1, 0, length), to = latents.narrow(1, 1, length), c = conditions;
  if (window < length) {
    const auto count = length - window + 1;
    from = runs(from, window, count);
    to = runs(to, window, count);
    c = runs(c, window, count);
  }
  return losses::prediction(head(predictor_->forward(from, c, mode), mode), to,
                            options_.loss.distance);
}

// From every start with a full context, as planning does it: each prediction joins the window of
// the next. Step 1 is the one-step term's business.
Tensor Jepa::rollout_loss(const Tensor& latents, const Tensor& conditions) const {
  const auto mode = nn::mode_of(*this);
  const auto frames = latents.size(1), steps = options_.predicted_steps;
  const auto context = std::min(options_.history, frames - steps);
  const auto starts = frames - steps - context + 1;
  auto window = runs(latents, context, starts);
  const auto c = runs(conditions, context - 1 + steps, starts);
  std::vector<Tensor> predicted, target;
  for (int64_t k = 1; k <= steps; ++k) {
    const auto end = context + k - 1;
    const auto length = std::min(end, options_.history);
    const auto next = head(predictor_->last(window.narrow(1, end - length, length),
                                            c.narrow(1, end - length, length), mode),
                           mode);
    window = at::cat({window, next.unsqueeze(1)}, 1);
    if (k == 1) continue;
    predicted.push_back(next.unflatten(0, {latents.size(0), starts}));
    target.push_back(latents.narrow(1, end, starts));
  }
  return losses::multi_step_prediction(predicted, target, options_.loss.distance,
                                       options_.loss.rollout_discount);
}

}  // namespace foresight::models
