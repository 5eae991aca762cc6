// SPDX-License-Identifier: Apache-2.0
// The pruned rollout of the AdaLN-zero predictor.
#include <ATen/core/grad_mode.h>

#include <algorithm>

#include "foresight/nn/adaln_predictor.hpp"
#include "repeat_rows.hpp"

namespace foresight::nn {
namespace {

// As many as whose modulations and hidden activations an allocator keeps for the next time (32 MB)
// and a processor's cache can hold.
int64_t candidates_at_once(const Tensor& x) {
  constexpr int64_t kInFloat = 128;
  return kInFloat * static_cast<int64_t>(sizeof(float)) / x.element_size();
}

// Packed layers take rows by the dozen (packed_wide.inl).
constexpr int64_t kWholeTiles = 12;

}  // namespace

// Frames are numbered from the oldest one kept: 0..observed-1 were seen, later ones are imagined.
// Condition k leaves frame k, so tokens before observed-1 are the same for all candidates of a
// problem.
struct AdaLnPredictor::Rollout {
  const AdaLnPredictor& net;
  int64_t observed, window;
  Tensor context;                // [B,observed,D]
  Tensor past_modulation;        // [B,observed-1,depth,6,width]
  Tensor future_modulation;      // [N,H,depth,6,width], N = B*S
  std::vector<Tensor> frames;    // [N,1,D]: frame observed-1 and the imagined ones
  std::vector<KeyValues> cache;  // per layer, valid while the window starts at frame 0

  // Prediction from the window that ends at frame observed-1+t: [N,output].
  Tensor predict(int64_t t) {
    const auto first = std::max<int64_t>(0, observed + t - window);
    const bool grows = observed + t < window;  // the next window starts at frame 0 as well
    const auto depth = net.blocks_.size();
    if (first == 0 && t > 0) {  // one token more than last time, all else is in the cache
      const auto x = net.embed(frames.back(), observed - 1 + t);
      const auto previous = std::move(cache);
      cache.assign(grows ? depth : 0, {});
      return net
          .finish(net.run(x, future_modulation.narrow(1, t, 1), &previous, grows ? &cache : nullptr,
                          Outputs::last, Mode::infer))
          .select(1, 0);
    }
    const auto shared = std::max<int64_t>(0, observed - 1 - first);
    const auto before = shared > 0 ? shared_tokens(first, shared) : std::vector<KeyValues>();
    const auto own_first = std::max(first, observed - 1);  // first frame that differs by candidate
    const auto begin = own_first - (observed - 1);
    const auto latents = at::cat(at::TensorList(frames).slice(static_cast<std::size_t>(begin)), 1);
    const auto modulation = future_modulation.narrow(1, begin, t + 1 - begin);
    cache.assign(grows ? depth : 0, {});
    return net
        .finish(net.run(net.embed(latents, shared), modulation, before.empty() ? nullptr : &before,
                        grows ? &cache : nullptr, Outputs::last, Mode::infer))
        .select(1, 0);
  }

  // Keys and values of the window's first `count` tokens, once per problem: [B,...].
  std::vector<KeyValues> shared_tokens(int64_t first, int64_t count) const {
    std::vector<KeyValues> result(net.blocks_.size());
    net.run(net.embed(context.narrow(1, first, count), 0), past_modulation.narrow(1, first, count),
            nullptr, &result, Outputs::none, Mode::infer);
    return result;
  }
};

Tensor AdaLnPredictor::rollout(const Tensor& context, const Tensor& past, const Tensor& future,
                               const PredictionHead& head) const {
  check_rollout(context, past, future);
  const auto samples = future.size(1);
  const auto parts = (future.size(0) * samples - 1) / candidates_at_once(context) + 1;
  if (parts == 1 || !future.device().is_cpu() || at::GradMode::is_enabled())
    return imagine(context, past, future, head);
  const auto share = ((samples - 1) / parts / kWholeTiles + 1) * kWholeTiles;
  std::vector<Tensor> imagined;
  for (const auto& part : future.split(share, 1))
    imagined.push_back(imagine(context, past, part, head));
  return at::cat(imagined, 1);
}

Tensor AdaLnPredictor::imagine(const Tensor& context, const Tensor& past, const Tensor& future,
                               const PredictionHead& head) const {
  const auto observed = std::min(context.size(1), sizes().frames);
  const auto kept = context.narrow(1, context.size(1) - observed, observed);
  const auto samples = future.size(1), horizon = future.size(2);
  Rollout rollout{
      *this,
      observed,
      sizes().frames,
      kept,
      modulate(past.narrow(1, past.size(1) - (observed - 1), observed - 1), Mode::infer),
      modulate(future.flatten(0, 1), Mode::infer),
      {repeat_rows(kept.slice(1, observed - 1), samples)},
      {}};
  for (int64_t t = 0; t < horizon; ++t)
    rollout.frames.push_back(head(rollout.predict(t)).unsqueeze(1));
  rollout.frames.erase(rollout.frames.begin());
  return at::cat(rollout.frames, 1).unflatten(0, {context.size(0), samples});
}

}  // namespace foresight::nn
