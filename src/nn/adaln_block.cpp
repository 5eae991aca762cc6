// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/adaln_block.hpp"

#include "foresight/nn/init.hpp"

namespace foresight::nn {
namespace {

constexpr double kPlainEpsilon = 1e-6;   // of the LayerNorm that is modulated
constexpr double kAffineEpsilon = 1e-5;  // of the one inside attention and feed-forward

Tensor modulated(const Tensor& x, const Tensor& shift, const Tensor& one_plus_scale) {
  return at::addcmul(shift, at::layer_norm(x, {x.size(-1)}, {}, {}, kPlainEpsilon), one_plus_scale);
}

// New token i of n sees the m earlier tokens and the new ones up to itself.
Tensor causal_mask(int64_t n, int64_t m, const Tensor& like) {
  return at::ones({n, m + n}, like.options().dtype(at::kBool)).tril(m);
}

}  // namespace

AdaLnBlock::AdaLnBlock(const AdaLnBlockSizes& sizes) : sizes_(sizes) {
  const auto inner = sizes.heads * sizes.head_width;
  const auto norm = [&](const char* path) {
    return place(
        *this, path,
        torch::nn::LayerNorm(torch::nn::LayerNormOptions({sizes.width}).eps(kAffineEpsilon)));
  };
  attention_norm_ = norm("attn.norm");
  qkv_ = place(*this, "attn.to_qkv",
               torch::nn::Linear(torch::nn::LinearOptions(sizes.width, 3 * inner).bias(false)));
  if (sizes.heads != 1 || sizes.head_width != sizes.width)
    out_ = place(*this, "attn.to_out.0", torch::nn::Linear(inner, sizes.width));
  mlp_norm_ = norm("mlp.net.0");
  mlp_in_ = place(*this, "mlp.net.1", torch::nn::Linear(sizes.width, sizes.mlp_width));
  mlp_out_ = place(*this, "mlp.net.4", torch::nn::Linear(sizes.mlp_width, sizes.width));
  modulation_ = place(*this, "adaLN_modulation.1", torch::nn::Linear(sizes.width, 6 * sizes.width));
}

void AdaLnBlock::initialise(Noise& noise) {
  init_layers(*this, noise);
  init_constant(modulation_->weight, 0.0);
  init_constant(modulation_->bias, 0.0);
}

Tensor AdaLnBlock::forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                           KeyValues* present, Outputs outputs, Mode mode) const {
  const auto part = [](const Tensor& m, int64_t i) { return m.select(-2, i); };
  const auto u = modulated(x, part(modulation, 0), part(modulation, 1));
  const auto attended = attend(through(attention_norm_, u), past, present, outputs, mode);
  if (outputs == Outputs::none) return {};
  const bool only_last = outputs == Outputs::last;
  const auto m = only_last ? modulation.slice(1, modulation.size(1) - 1) : modulation;
  auto y = only_last ? x.slice(1, x.size(1) - 1) : x;
  y = at::addcmul(y, part(m, 2), attended);
  return at::addcmul(y, part(m, 5), feed_forward(modulated(y, part(m, 3), part(m, 4)), mode));
}

Tensor AdaLnBlock::attend(const Tensor& u, const KeyValues* past, KeyValues* present,
                          Outputs outputs, Mode mode) const {
  const auto inner = sizes_.heads * sizes_.head_width;
  const auto split = [&](const Tensor& x) {
    return x.unflatten(-1, {sizes_.heads, sizes_.head_width}).transpose(1, 2);
  };
  Tensor query, keys, values;
  if (outputs == Outputs::all || u.size(1) == 1) {
    const auto qkv = at::linear(u, qkv_->weight).chunk(3, -1);
    query = split(qkv[0]), keys = split(qkv[1]), values = split(qkv[2]);
  } else {
    const auto kv = at::linear(u, qkv_->weight.slice(0, inner)).chunk(2, -1);
    keys = split(kv[0]), values = split(kv[1]);
    if (outputs == Outputs::last)
      query = split(at::linear(u.slice(1, u.size(1) - 1), qkv_->weight.slice(0, 0, inner)));
  }
  if (past) {
    keys = at::cat({past->keys, keys}, 2);
    values = at::cat({past->values, values}, 2);
  }
  if (present) *present = {keys, values};
  if (outputs == Outputs::none) return {};

  const auto n = query.size(2), total = keys.size(2);
  const double dropout = mode == Mode::train ? sizes_.dropout : 0.0;
  Tensor o;
  if (total == 1 && dropout == 0.0)
    o = values;  // softmax over one key is 1
  else if (n == 1)
    o = at::scaled_dot_product_attention(query, keys, values, {}, dropout);
  else if (n == total)
    o = at::scaled_dot_product_attention(query, keys, values, {}, dropout, /*is_causal=*/true);
  else
    o = at::scaled_dot_product_attention(query, keys, values, causal_mask(n, total - n, u),
                                         dropout);
  o = o.transpose(1, 2).flatten(2);
  return out_ ? drop(through(out_, o), sizes_.dropout, mode) : o;
}

Tensor AdaLnBlock::feed_forward(const Tensor& u, Mode mode) const {
  const auto hidden = at::gelu(through(mlp_in_, through(mlp_norm_, u)));
  return drop(through(mlp_out_, drop(hidden, sizes_.dropout, mode)), sizes_.dropout, mode);
}

}  // namespace foresight::nn
