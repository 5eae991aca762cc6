// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/frame_attention.hpp"

#include <algorithm>
#include <vector>

#include "attention.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/short_attention.hpp"

namespace foresight::nn {
namespace {

torch::nn::LayerNorm layer_norm(int64_t width) {
  return torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(1e-5));
}

// New token i of n sees the m earlier tokens and the new ones up to itself.
Tensor causal_mask(int64_t n, int64_t m, const Tensor& like) {
  return at::ones({n, m + n}, like.options().dtype(at::kBool)).tril(m);
}

// Earlier keys (or values) [N,heads,m,w], or [B,heads,m,w] shared by N/B rows each, then own ones.
Tensor joined(const Tensor& past, const Tensor& own) {
  if (past.size(0) == own.size(0)) return at::cat({past, own}, 2);
  const auto samples = own.size(0) / past.size(0);
  const auto shared = past.unsqueeze(1).expand({-1, samples, -1, -1, -1});
  return at::cat({shared, own.unflatten(0, {past.size(0), samples})}, 3).flatten(0, 1);
}

bool can_prepack(const std::vector<Tensor>& weights) {
  return PrepackedLinear::available() &&
         std::all_of(weights.begin(), weights.end(), [](const Tensor& w) {
           return w.scalar_type() == at::kBFloat16 && w.device().is_cpu() && !w.is_inference();
         });
}

}  // namespace

FrameAttention::FrameAttention(const FrameAttentionSizes& sizes) : sizes_(sizes) {
  const auto inner = sizes.heads * sizes.head_width;
  norm_ = register_module("norm", layer_norm(sizes.width));
  qkv_ = register_module(
      "to_qkv", torch::nn::Linear(torch::nn::LinearOptions(sizes.width, 3 * inner).bias(false)));
  if (sizes.heads != 1 || sizes.head_width != sizes.width)
    out_ = place(*this, "to_out.0", torch::nn::Linear(inner, sizes.width));
}

Tensor FrameAttention::forward(const Tensor& x, const KeyValues* past, KeyValues* present,
                               Outputs outputs, Mode mode) const {
  const auto inner = sizes_.heads * sizes_.head_width;
  const bool grid = x.dim() == 4;
  const auto tokens = grid ? x.size(2) : 1;
  auto u = through(norm_, x);
  if (grid) u = u.flatten(1, 2);
  const auto split = [&](const Tensor& y) {
    return y.unflatten(-1, {sizes_.heads, sizes_.head_width}).transpose(1, 2);
  };
  const double dropout = mode == Mode::train ? sizes_.dropout : 0.0;
  // Softmax over one key is 1: what a lone token asks for does not matter.
  const bool alone = !past && u.size(1) == 1 && dropout == 0.0;
  const auto* prepacked = prepacked_ && PrepackedLinear::computes(prepacked_->frozen, u, mode)
                              ? prepacked_.get()
                              : nullptr;
  const bool all_ask = !alone && (outputs == Outputs::all || u.size(1) == tokens);
  Tensor query, keys, values;
  if (all_ask && !prepacked) {
    const auto qkv = apply_linear(u, qkv_->weight).chunk(3, -1);
    query = split(qkv[0]), keys = split(qkv[1]), values = split(qkv[2]);
  } else {
    const auto kv = (prepacked ? prepacked->keys_and_values.apply(u)
                               : apply_linear(u, qkv_->weight.slice(0, inner)))
                        .chunk(2, -1);
    keys = split(kv[0]), values = split(kv[1]);
    if (all_ask || (outputs == Outputs::last && !alone)) {
      const auto asking = all_ask ? u : u.slice(1, u.size(1) - tokens);
      query = split(prepacked ? prepacked->query.apply(asking)
                              : apply_linear(asking, qkv_->weight.slice(0, 0, inner)));
    }
  }
  if (past) {
    keys = joined(past->keys, keys);
    values = joined(past->values, values);
  }
  if (present) *present = {keys, values};
  if (outputs == Outputs::none) return {};
  auto o = alone ? values : attend(query, keys, values, tokens, dropout);
  o = o.transpose(1, 2).flatten(2);
  if (out_) o = drop(prepacked ? prepacked->out->apply(o) : through(out_, o), sizes_.dropout, mode);
  return grid ? o.unflatten(1, {-1, tokens}) : o;
}

void FrameAttention::use_prepacked() {
  prepacked_ = nullptr;
  if (!can_prepack(parameters())) return;
  const auto inner = sizes_.heads * sizes_.head_width;
  const auto& weight = qkv_->weight;
  prepacked_ = std::make_shared<Prepacked>(
      Prepacked{{weight.slice(0, 0, inner), {}},
                {weight.slice(0, inner), {}},
                out_ ? std::optional<PrepackedLinear>({out_->weight, out_->bias}) : std::nullopt,
                Frozen(parameters())});
}

// All of the last query.size(2) tokens, frame by frame of `tokens`: each frame's queries meet its
// own and the earlier frames' keys, so that no mask is needed and nothing masked is computed. For
// one token a frame a causal mask is cheaper than as many calls.
Tensor FrameAttention::attend(const Tensor& query, const Tensor& keys, const Tensor& values,
                              int64_t tokens, double dropout) const {
  const auto n = query.size(2), total = keys.size(2);
  if (tokens == 1 && dropout == 0.0 && is_short_attention(query, keys, values))
    return short_attention(query, keys, values);
  if (n == tokens) return dot_product_attention(query, keys, values, std::nullopt, dropout);
  if (tokens == 1 && n == total)
    return dot_product_attention(query, keys, values, std::nullopt, dropout, /*is_causal=*/true);
  if (tokens == 1)
    return dot_product_attention(query, keys, values, causal_mask(n, total - n, query), dropout);
  std::vector<Tensor> frames;
  for (int64_t begin = 0; begin < n; begin += tokens) {
    const auto seen = total - n + begin + tokens;
    frames.push_back(dot_product_attention(query.narrow(2, begin, tokens), keys.narrow(2, 0, seen),
                                           values.narrow(2, 0, seen), std::nullopt, dropout));
  }
  return at::cat(frames, 2);
}

NormedFeedForward::NormedFeedForward(int64_t width, int64_t hidden, double dropout)
    : dropout_(dropout) {
  norm_ = place(*this, "net.0", layer_norm(width));
  in_ = place(*this, "net.1", torch::nn::Linear(width, hidden));
  out_ = place(*this, "net.4", torch::nn::Linear(hidden, width));
}

void NormedFeedForward::use_prepacked() {
  prepacked_ = nullptr;
  if (!can_prepack(parameters())) return;
  prepacked_ = std::make_shared<Prepacked>(
      Prepacked{{in_->weight, in_->bias}, {out_->weight, out_->bias}, Frozen(parameters())});
}

Tensor NormedFeedForward::forward(const Tensor& x, Mode mode) const {
  if (prepacked_ && PrepackedLinear::computes(prepacked_->frozen, x, mode))
    return prepacked_->out.apply(prepacked_->in.apply(through(norm_, x), Activation::gelu));
  const auto hidden = activate_temporary(through(in_, through(norm_, x)), Activation::gelu);
  return drop(through(out_, drop(hidden, dropout_, mode)), dropout_, mode);
}

}  // namespace foresight::nn
