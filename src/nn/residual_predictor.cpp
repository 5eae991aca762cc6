// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/residual_predictor.hpp"

#include <limits>
#include <vector>

#include "foresight/nn/init.hpp"

namespace foresight::nn {
namespace {

// Rows [N,L,C] -> the window of `frames` rows that ends at each: [N,L,frames*C], zeros before the
// first.
Tensor windows(const Tensor& rows, int64_t frames) {
  if (frames == 1) return rows;
  return at::constant_pad_nd(rows, {0, 0, frames - 1, 0})
      .unfold(1, frames, 1)
      .transpose(2, 3)
      .flatten(2);
}

// The last `frames` rows of [N,L,C], zeros in front if there are fewer.
Tensor tail(const Tensor& rows, int64_t frames) {
  const auto length = rows.size(1);
  if (length == frames) return rows;
  if (length > frames) return rows.narrow(1, length - frames, frames);
  return at::constant_pad_nd(rows, {0, 0, frames - length, 0});
}

}  // namespace

ResidualPredictor::ResidualPredictor(const MlpOptions& options, const PredictorSizes& sizes)
    : LatentPredictor(sizes) {
  require(sizes.output == sizes.latent, ErrorCategory::invalid_option,
          "ResidualPredictor: output width = " + std::to_string(sizes.output) +
              " must equal the latent width = " + std::to_string(sizes.latent));
  require(sizes.frames >= 1, ErrorCategory::invalid_option,
          "ResidualPredictor: frames = " + std::to_string(sizes.frames) + " must be >= 1");
  mlp_ =
      register_module("mlp", std::make_shared<Mlp>(sizes.frames * (sizes.latent + sizes.condition),
                                                   options, sizes.output));
}

int64_t ResidualPredictor::max_length() const { return std::numeric_limits<int64_t>::max(); }

void ResidualPredictor::initialise(Noise& noise) {
  mlp_->initialise(noise);
  init_constant(mlp_->last()->weight, 0.0);
  init_constant(mlp_->last()->bias, 0.0);
}

Tensor ResidualPredictor::forward(const Tensor& latents, const Tensor& conditions, Mode) const {
  check_window(latents, conditions);
  const auto input =
      at::cat({windows(latents, sizes().frames), windows(conditions, sizes().frames)}, -1);
  return latents + mlp_->forward(input);
}

Tensor ResidualPredictor::last(const Tensor& latents, const Tensor& conditions, Mode) const {
  check_window(latents, conditions);
  const auto input = at::cat(
      {tail(latents, sizes().frames).flatten(1), tail(conditions, sizes().frames).flatten(1)}, 1);
  return latents.select(1, -1) + mlp_->forward(input);
}

Tensor ResidualPredictor::rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                                  const PredictionHead& head) const {
  check_rollout(context, past, future);
  const auto frames = sizes().frames;
  const auto batch = future.size(0), samples = future.size(1), horizon = future.size(2);
  const auto per_candidate = [&](const Tensor& rows) {  // [B,...] -> [B*S,...]
    auto shape = rows.sizes().vec();
    shape.insert(shape.begin() + 1, samples);
    return rows.unsqueeze(1).expand(shape).flatten(0, 1);
  };

  // The first layer reads [latents | conditions]: its conditions' half is known for every step.
  const auto& first = mlp_->first();
  const auto from_latents = first->weight.narrow(1, 0, frames * sizes().latent).t();
  const auto from_conditions = first->weight.slice(1, frames * sizes().latent);
  auto conditions = future.flatten(0, 1);  // [N,H,C]
  if (frames > 1)
    conditions = at::cat({per_candidate(tail(past, frames - 1)), conditions}, 1)
                     .unfold(1, frames, 1)
                     .transpose(2, 3)
                     .flatten(2);
  const auto known = at::linear(conditions.transpose(0, 1).contiguous(), from_conditions,
                                first->bias);  // [H,N,hidden]

  auto latent = per_candidate(context.select(1, -1));
  std::vector<Tensor> window;  // the frames before `latent`, oldest first
  if (frames > 1)
    for (const auto& row : per_candidate(tail(context, frames)).unbind(1)) window.push_back(row);
  std::vector<Tensor> imagined;
  imagined.reserve(static_cast<std::size_t>(horizon));
  for (int64_t t = 0; t < horizon; ++t) {
    const auto seen = frames > 1 ? at::cat(window, 1) : latent;
    const auto change = mlp_->forward_from_first(at::addmm(known.select(0, t), seen, from_latents));
    latent = head(latent + change);
    imagined.push_back(latent);
    if (frames > 1) {
      window.erase(window.begin());
      window.push_back(latent);
    }
  }
  return at::stack(imagined, 1).unflatten(0, {batch, samples});
}

}  // namespace foresight::nn
