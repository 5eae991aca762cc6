// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/patch_predictor.hpp"

#include <algorithm>

#include "foresight/nn/init.hpp"
#include "foresight/nn/recompute.hpp"
#include "repeat_rows.hpp"

namespace foresight::nn {

std::vector<std::string> PatchPredictorOptions::validate() const {
  Rules rules("PatchPredictorOptions");
  const auto positive = [&](int64_t value, std::string_view name) {
    rules.check(value >= 1, name, static_cast<double>(value), "must be >= 1");
  };
  positive(depth, "depth");
  positive(heads, "heads");
  positive(head_width, "head_width");
  positive(mlp_width, "mlp_width");
  rules.check(dropout >= 0 && dropout < 1, "dropout", dropout, "must be in [0, 1)");
  return rules.problems();
}

// x += attention(x); x += feed_forward(x).
class PatchBlock : public torch::nn::Module {
 public:
  PatchBlock(int64_t width, const PatchPredictorOptions& o) {
    attention_ = register_module("0", std::make_shared<FrameAttention>(FrameAttentionSizes{
                                          width, o.heads, o.head_width, o.dropout}));
    feed_forward_ =
        register_module("1", std::make_shared<NormedFeedForward>(width, o.mlp_width, o.dropout));
  }

  Tensor forward(const Tensor& x, const KeyValues* past, KeyValues* present, Outputs outputs,
                 Mode mode) const {
    const auto attended = attention_->forward(x, past, present, outputs, mode);
    if (outputs == Outputs::none) return {};
    const auto y = attended + (outputs == Outputs::last ? x.slice(1, x.size(1) - 1) : x);
    return feed_forward_->forward(y, mode) + y;
  }

 private:
  std::shared_ptr<FrameAttention> attention_;
  std::shared_ptr<NormedFeedForward> feed_forward_;
};

PatchPredictor::PatchPredictor(const PatchPredictorOptions& options,
                               const PatchPredictorSizes& sizes)
    : options_(options), sizes_(sizes) {
  require_valid(options);
  const auto conditioning = options.conditioning;
  Rules rules("PatchPredictorSizes");
  const auto check = [&](bool holds, std::string_view name, int64_t value, std::string_view rule) {
    rules.check(holds, name, static_cast<double>(value), rule);
  };
  check(sizes.frames >= 1, "frames", sizes.frames, "must be >= 1");
  check(sizes.tokens >= 1, "tokens", sizes.tokens, "must be >= 1");
  check(sizes.channels >= 1, "channels", sizes.channels, "must be >= 1");
  check(sizes.condition >= (conditioning == ActionConditioning::feature ? 0 : 1), "condition",
        sizes.condition, "must be >= 1 (0 with feature conditioning)");
  if (conditioning == ActionConditioning::token)
    check(sizes.condition == sizes.channels, "condition", sizes.condition,
          "must equal channels = " + std::to_string(sizes.channels) + " for token conditioning");
  throw_if_any(rules.problems());

  const auto width =
      sizes.channels + (conditioning == ActionConditioning::feature ? sizes.condition : 0);
  const auto tokens = sizes.tokens + (conditioning == ActionConditioning::token ? 1 : 0);
  positions_ = register_parameter("pos_embedding", at::zeros({1, sizes.frames * tokens, width}));
  norm_ = place(*this, "transformer.norm",
                torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(1e-5)));
  if (conditioning == ActionConditioning::adaln && sizes.condition != width)
    condition_ = place(*this, "transformer.cond_proj", torch::nn::Linear(sizes.condition, width));
  for (int64_t i = 0; i < options.depth; ++i) {
    const auto path = "transformer.layers." + std::to_string(i);
    if (conditioning == ActionConditioning::adaln)
      adaln_.push_back(place(
          *this, path,
          std::make_shared<AdaLnBlock>(AdaLnBlockSizes{width, options.heads, options.head_width,
                                                       options.mlp_width, options.dropout})));
    else
      plain_.push_back(place(*this, path, std::make_shared<PatchBlock>(width, options)));
  }
}

void PatchPredictor::initialise(Noise& noise) {
  init_layers(*this, noise);
  for (const auto& block : adaln_) block->initialise(noise);
  init_normal(positions_, 1.0, noise);
}

void PatchPredictor::check(const Tensor& frames, const Tensor& conditions) const {
  check_shape("frames", frames, {kAny, kAny, sizes_.tokens, sizes_.channels}, "[N,L,P,D]");
  check_shape("conditions", conditions, {frames.size(0), frames.size(1), sizes_.condition},
              "[N,L,C]");
  require(frames.size(1) >= 1 && frames.size(1) <= sizes_.frames, ErrorCategory::invalid_argument,
          "a window of " + std::to_string(frames.size(1)) + " frames, expected 1.." +
              std::to_string(sizes_.frames));
}

Tensor PatchPredictor::join(const Tensor& frames, const Tensor& conditions) const {
  if (sizes_.condition == 0 || options_.conditioning == ActionConditioning::adaln) return frames;
  const auto c = conditions.unsqueeze(2);  // [N,L,1,C]
  if (options_.conditioning == ActionConditioning::token) return at::cat({frames, c}, 2);
  return at::cat({frames, c.expand({-1, -1, sizes_.tokens, -1})}, 3);
}

Tensor PatchPredictor::run(const Tensor& frames, const Tensor& conditions, int64_t first_position,
                           const std::vector<KeyValues>* past, std::vector<KeyValues>* present,
                           Outputs outputs, Mode mode) const {
  auto x = join(frames, conditions);
  x = x + positions_.unflatten(1, {sizes_.frames, -1}).narrow(1, first_position, x.size(1));
  Tensor modulation;
  if (!adaln_.empty())
    modulation = modulations(adaln_, condition_ ? through(condition_, conditions) : conditions);
  const auto depth = static_cast<std::size_t>(options_.depth);
  for (std::size_t i = 0; i < depth; ++i) {
    const auto* before = past ? &(*past)[i] : nullptr;
    auto* after = present ? &(*present)[i] : nullptr;
    const auto wanted = i + 1 == depth ? outputs : Outputs::all;
    const bool alone =
        before == nullptr && after == nullptr;  // keys and values must not come twice
    if (adaln_.empty()) {
      const auto block = [block = plain_[i], before, after, wanted, mode](const Tensor& u,
                                                                          const Tensor&) {
        return block->forward(u, before, after, wanted, mode);
      };
      x = alone ? recomputed(block, x) : block(x, {});
    } else {
      const auto block = [block = adaln_[i], before, after, wanted, mode](const Tensor& u,
                                                                          const Tensor& c) {
        return block->forward(u, c, before, after, wanted, mode);
      };
      const auto condition = modulation.select(-3, static_cast<int64_t>(i));
      x = alone ? recomputed(block, x, condition) : block(x, condition);
    }
  }
  if (outputs == Outputs::none) return {};
  // The action's own channels or token are inputs; what comes out there has no meaning.
  return through(norm_, x).narrow(2, 0, sizes_.tokens).narrow(3, 0, sizes_.channels);
}

Tensor PatchPredictor::forward(const Tensor& frames, const Tensor& conditions, Mode mode) const {
  check(frames, conditions);
  return run(frames, conditions, 0, nullptr, nullptr, Outputs::all, mode);
}

Tensor PatchPredictor::last(const Tensor& frames, const Tensor& conditions, Mode mode) const {
  check(frames, conditions);
  return run(frames, conditions, 0, nullptr, nullptr, Outputs::last, mode).select(1, 0);
}

// Frames are numbered from the oldest one kept: 0..observed-1 were seen, later ones are imagined.
// Condition k leaves frame k, so frames before observed-1 are the same for all candidates of a
// problem. Positions are counted from the start of the window: once it slides, nothing of an
// earlier step can be reused.
struct PatchPredictor::Rollout {
  const PatchPredictor& net;
  int64_t observed, window;
  Tensor context;                // [B,observed,P,D]
  Tensor past;                   // [B,observed-1,C]
  Tensor future;                 // [N,H,C], N = B*S
  std::vector<Tensor> frames;    // [N,1,P,D]: frame observed-1 and the imagined ones
  std::vector<KeyValues> cache;  // per layer, valid while the window starts at frame 0

  // Prediction from the window that ends at frame observed-1+t: [N,1,P,D].
  Tensor predict(int64_t t) {
    const auto first = std::max<int64_t>(0, observed + t - window);
    const bool starts_at_zero = first == 0, grows = observed + t < window;
    const auto depth = static_cast<std::size_t>(net.options_.depth);
    if (starts_at_zero && t > 0) {  // one frame more than last time, all else is in the cache
      const auto previous = std::move(cache);
      cache.assign(grows ? depth : 0, {});
      return net.run(frames.back(), future.narrow(1, t, 1), observed - 1 + t, &previous,
                     grows ? &cache : nullptr, Outputs::last, Mode::infer);
    }
    const auto shared = std::max<int64_t>(0, observed - 1 - first);
    const auto before = shared > 0 ? shared_frames(first, shared) : std::vector<KeyValues>();
    const auto begin = std::max(first, observed - 1) - (observed - 1);
    const auto own = at::cat(at::TensorList(frames).slice(static_cast<std::size_t>(begin)), 1);
    const bool kept = starts_at_zero && grows;
    cache.assign(kept ? depth : 0, {});
    return net.run(own, future.narrow(1, begin, t + 1 - begin), shared,
                   before.empty() ? nullptr : &before, kept ? &cache : nullptr, Outputs::last,
                   Mode::infer);
  }

  // Keys and values of the window's first `count` frames, once per problem.
  std::vector<KeyValues> shared_frames(int64_t first, int64_t count) const {
    std::vector<KeyValues> result(static_cast<std::size_t>(net.options_.depth));
    net.run(context.narrow(1, first, count), past.narrow(1, first, count), 0, nullptr, &result,
            Outputs::none, Mode::infer);
    return result;
  }
};

Tensor PatchPredictor::rollout(const Tensor& context, const Tensor& past,
                               const Tensor& future) const {
  check_shape("context", context, {kAny, kAny, sizes_.tokens, sizes_.channels}, "[B,F,P,D]");
  const auto batch = context.size(0), frames = context.size(1);
  require(frames >= 1, ErrorCategory::invalid_argument, "a rollout needs at least one frame");
  check_shape("past conditions", past, {batch, frames - 1, sizes_.condition}, "[B,F-1,C]");
  check_shape("future conditions", future, {batch, kAny, kAny, sizes_.condition}, "[B,S,H,C]");
  const auto samples = future.size(1), horizon = future.size(2);
  require(samples >= 1 && horizon >= 1, ErrorCategory::invalid_argument,
          "a rollout needs S >= 1 and H >= 1");

  const auto observed = std::min(frames, sizes_.frames);
  const auto kept = context.narrow(1, frames - observed, observed);
  Rollout rollout{*this,
                  observed,
                  sizes_.frames,
                  kept,
                  past.narrow(1, frames - observed, observed - 1),
                  future.flatten(0, 1),
                  {repeat_rows(kept.slice(1, observed - 1), samples)},
                  {}};
  for (int64_t t = 0; t < horizon; ++t) rollout.frames.push_back(rollout.predict(t));
  rollout.frames.erase(rollout.frames.begin());
  return at::cat(rollout.frames, 1).unflatten(0, {batch, samples});
}

}  // namespace foresight::nn
