// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/predictor.hpp"

#include <algorithm>
#include <vector>

namespace foresight::nn {

void LatentPredictor::check_window(const Tensor& latents, const Tensor& conditions) const {
  check_shape("latents", latents, {kAny, kAny, sizes_.latent}, "[N,L,D]");
  check_shape("conditions", conditions, {latents.size(0), latents.size(1), sizes_.condition},
              "[N,L,C]");
  require(latents.size(1) >= 1 && latents.size(1) <= max_length(), ErrorCategory::invalid_argument,
          "a window of " + std::to_string(latents.size(1)) + " frames, expected 1.." +
              std::to_string(max_length()));
}

void LatentPredictor::check_rollout(const Tensor& context, const Tensor& past,
                                    const Tensor& future) const {
  check_shape("context", context, {kAny, kAny, sizes_.latent}, "[B,F,D]");
  const auto batch = context.size(0), frames = context.size(1);
  require(frames >= 1, ErrorCategory::invalid_argument, "a rollout needs at least one frame");
  check_shape("past conditions", past, {batch, frames - 1, sizes_.condition}, "[B,F-1,C]");
  check_shape("future conditions", future, {batch, kAny, kAny, sizes_.condition}, "[B,S,H,C]");
  require(future.size(2) >= 1, ErrorCategory::invalid_argument, "a rollout needs a horizon >= 1");
}

Tensor LatentPredictor::last(const Tensor& latents, const Tensor& conditions, Mode mode) const {
  return forward(latents, conditions, mode).select(1, -1);
}

Tensor LatentPredictor::rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                                const PredictionHead& head) const {
  check_rollout(context, past, future);
  const auto samples = future.size(1), horizon = future.size(2);
  const auto per_candidate = [&](const Tensor& x) {
    return x.unsqueeze(1).expand({-1, samples, -1, -1}).flatten(0, 1);
  };
  auto latents = per_candidate(context);
  const auto conditions = at::cat({per_candidate(past), future.flatten(0, 1)}, 1);
  const auto observed = context.size(1);
  for (int64_t t = 0; t < horizon; ++t) {
    const auto end = observed + t;
    const auto length = std::min(end, sizes_.frames);
    const auto next = head(last(latents.narrow(1, end - length, length),
                                conditions.narrow(1, end - length, length), Mode::infer));
    latents = at::cat({latents, next.unsqueeze(1)}, 1);
  }
  return latents.narrow(1, observed, horizon).unflatten(0, {context.size(0), samples});
}

void LatentPredictor::use_packed(const Packing& packing) {
  if (packing.format == PackedFormat::float32) return;
  throw Error(ErrorCategory::unsupported,
              "this kind of predictor is not computed in fixed point: only the AdaLN transformer "
              "(predictor = adaln) is");
}

}  // namespace foresight::nn
