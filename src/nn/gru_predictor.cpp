// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/gru_predictor.hpp"

#include <cmath>
#include <limits>
#include <utility>

#include "gru_step.hpp"

namespace foresight::nn {

GruPredictor::GruPredictor(const PredictorSizes& sizes, torch::nn::LayerNorm norm)
    : LatentPredictor(sizes), norm_(std::move(norm)) {
  require(sizes.frames == 1, ErrorCategory::invalid_option,
          "GruPredictor: frames = " + std::to_string(sizes.frames) + " must be 1");
  require(sizes.output == sizes.latent, ErrorCategory::invalid_option,
          "GruPredictor: output width = " + std::to_string(sizes.output) +
              " must equal the latent width = " + std::to_string(sizes.latent));
  auto& rnn = scope(*this, "rnn");
  const auto gates = 3 * sizes.latent;
  action_weight_ = rnn.register_parameter("weight_ih_l0", at::zeros({gates, sizes.condition}));
  latent_weight_ = rnn.register_parameter("weight_hh_l0", at::zeros({gates, sizes.latent}));
  action_bias_ = rnn.register_parameter("bias_ih_l0", at::zeros({gates}));
  latent_bias_ = rnn.register_parameter("bias_hh_l0", at::zeros({gates}));
}

int64_t GruPredictor::max_length() const { return std::numeric_limits<int64_t>::max(); }

void GruPredictor::initialise(Noise& noise) {
  at::NoGradGuard no_grad;
  const double bound = 1.0 / std::sqrt(static_cast<double>(sizes().latent));
  for (const auto& weight : {action_weight_, latent_weight_, action_bias_, latent_bias_})
    weight.copy_(noise.uniform(weight.sizes()).mul_(2 * bound).sub_(bound));
}

// latent [...,D], the gates' part that comes from the action [...,3D].
Tensor GruPredictor::next(const Tensor& latent, const Tensor& from_action) const {
  const auto width = sizes().latent;
  const auto from_latent = apply_linear(latent, latent_weight_, latent_bias_);
  const auto gates =
      at::sigmoid(from_action.narrow(-1, 0, 2 * width) + from_latent.narrow(-1, 0, 2 * width));
  const auto reset = gates.narrow(-1, 0, width), keep = gates.narrow(-1, width, width);
  const auto candidate = at::tanh(at::addcmul(from_action.narrow(-1, 2 * width, width), reset,
                                              from_latent.narrow(-1, 2 * width, width)));
  // Under autocast the products are bfloat16, while a latent that a norm has left is float32 on
  // CUDA; lerp() takes one type.
  const auto type = latent.scalar_type();
  const auto hidden = at::lerp(candidate.to(type), latent, keep.to(type));
  return norm_ ? through(norm_, hidden) : hidden;
}

Tensor GruPredictor::forward(const Tensor& latents, const Tensor& conditions, Mode) const {
  check_window(latents, conditions);
  return next(latents, apply_linear(conditions, action_weight_, action_bias_));
}

Tensor GruPredictor::rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                             const PredictionHead& head) const {
  check_rollout(context, past, future);
  const auto batch = future.size(0), samples = future.size(1);
  const auto latent = context.select(1, -1)
                          .unsqueeze(1)
                          .expand({batch, samples, sizes().latent})
                          .reshape({batch * samples, sizes().latent});
  const auto actions = future.flatten(0, 1);  // [N,H,A]
  const auto imagined = is_fused(latent, actions) ? fused_rollout(latent, actions, head)
                                                  : stepped_rollout(latent, actions, head);
  return imagined.unflatten(0, {batch, samples});
}

Tensor GruPredictor::stepped_rollout(Tensor latent, const Tensor& actions,
                                     const PredictionHead& head) const {
  // [H,N,3D], so that every step reads one contiguous block.
  const auto from_actions =
      apply_linear(actions.transpose(0, 1).contiguous(), action_weight_, action_bias_);
  std::vector<Tensor> imagined;
  imagined.reserve(static_cast<std::size_t>(actions.size(1)));
  for (const auto& from_action : from_actions.unbind(0)) {
    latent = head(next(latent, from_action));
    imagined.push_back(latent);
  }
  return at::stack(imagined, 1);
}

bool GruPredictor::is_fused(const Tensor& latent, const Tensor& actions) const {
  const auto takes = [](const Tensor& x) {
    return x.device().is_cpu() && x.scalar_type() == at::kFloat;
  };
  return !at::GradMode::is_enabled() && takes(latent) && takes(actions) && takes(latent_weight_) &&
         sizes().latent % kGruElements == 0 && sizes().condition <= kFewActions &&
         (!norm_ || (norm_->weight.defined() && norm_->bias.defined()));
}

Tensor GruPredictor::fused_rollout(const Tensor& start, const Tensor& actions,
                                   const PredictionHead& head) const {
  GruStep step(action_weight_, latent_weight_, action_bias_, latent_bias_);
  if (norm_) step.set_norm(norm_->weight, norm_->bias, norm_->options.eps());
  const auto given = actions.contiguous();
  // A step reads all of a row before its norm changes it, hence two buffers that take turns. Rows
  // of the result would be further apart than is good for a processor's caches.
  auto latent = start.clone(at::MemoryFormat::Contiguous), next = at::empty_like(latent);
  const auto imagined = at::empty({start.size(0), actions.size(1), start.size(1)}, start.options());
  for (int64_t t = 0; t < actions.size(1); ++t) {
    step.apply(latent, given.select(1, t), next);
    if (const auto headed = head(next); !headed.is_same(next)) next.copy_(headed);
    imagined.select(1, t).copy_(next);
    std::swap(latent, next);
  }
  return imagined;
}

}  // namespace foresight::nn
