// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/video_block.hpp"

#include <cmath>
#include <optional>

#include "attention.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/unfilled_linear.hpp"

namespace foresight::nn {
namespace {

constexpr double kInitialStd = 0.02;

// [B,heads,m,w] -> [N,heads,m,w], each row for its N/B candidates.
Tensor per_candidate(const Tensor& shared, int64_t rows) {
  if (shared.size(0) == rows) return shared;
  auto shape = shared.sizes().vec();
  shape.insert(shape.begin() + 1, rows / shared.size(0));
  return shared.unsqueeze(1).expand(shape).flatten(0, 1);
}

// Keys (or values) of earlier tokens, then of the new ones; `earlier` may be undefined.
Tensor joined(const Tensor& earlier, const Tensor& own) {
  return earlier.defined() ? at::cat({earlier, own}, 2) : own;
}

}  // namespace

VideoBlock::VideoBlock(const VideoBlockSizes& sizes) : sizes_(sizes) {
  require(sizes.width >= 1 && sizes.heads >= 1 && sizes.width % sizes.heads == 0,
          ErrorCategory::invalid_option,
          "VideoBlock: width = " + std::to_string(sizes.width) +
              " must be a multiple of heads = " + std::to_string(sizes.heads));
  const auto norm = [&](const char* path) {
    return place(
        *this, path,
        torch::nn::LayerNorm(torch::nn::LayerNormOptions({sizes.width}).eps(sizes.norm_epsilon)));
  };
  const auto linear = [&](const char* path, int64_t in, int64_t out) {
    return place(*this, path, unfilled_linear({in, out}));
  };
  norm1_ = norm("norm1");
  qkv_ = place(
      *this, "attn.qkv",
      unfilled_linear(torch::nn::LinearOptions(sizes.width, 3 * sizes.width).bias(sizes.qkv_bias)));
  proj_ = linear("attn.proj", sizes.width, sizes.width);
  norm2_ = norm("norm2");
  fc1_ = linear("mlp.fc1", sizes.width, sizes.mlp_width);
  if (sizes.feed_forward == FeedForward::swiglu) {
    fc2_ = linear("mlp.fc2", sizes.width, sizes.mlp_width);
    fc3_ = linear("mlp.fc3", sizes.mlp_width, sizes.width);
  } else {
    fc2_ = linear("mlp.fc2", sizes.mlp_width, sizes.width);
  }
}

void VideoBlock::initialise(int64_t layer, Noise& noise) {
  const double residual = kInitialStd / std::sqrt(2.0 * static_cast<double>(layer));
  const auto init = [&](const torch::nn::Linear& linear, double std) {
    init_normal(linear->weight, std, noise);
    if (linear->bias.defined()) init_constant(linear->bias, 0.0);
  };
  init(qkv_, kInitialStd);
  init(proj_, residual);
  init(fc1_, kInitialStd);
  init(fc2_, fc3_ ? kInitialStd : residual);
  if (fc3_) init(fc3_, residual);
  for (const auto& norm : {norm1_, norm2_}) {
    init_constant(norm->weight, 1.0);
    init_constant(norm->bias, 0.0);
  }
}

std::vector<Tensor> VideoBlock::query_key_value(const Tensor& u) const {
  const auto qkv = through(qkv_, u)
                       .view({u.size(0), u.size(1), 3, sizes_.heads, sizes_.width / sizes_.heads})
                       .permute({2, 0, 3, 1, 4});
  return qkv.unbind(0);
}

Tensor VideoBlock::attend(const Tensor& u, const Attention& attention) const {
  const auto n = u.size(1);
  const auto wanted = attention.wanted < 0 ? n : attention.wanted;
  const auto qkv = query_key_value(u);
  auto query = qkv[0].narrow(2, n - wanted, wanted), keys = qkv[1];
  if (attention.rope) {
    keys = rotate(keys, *attention.rope);
    if (wanted > 0) query = rotate(query, narrow(*attention.rope, n - wanted, wanted));
  }
  auto values = qkv[2];
  if (attention.past) {
    keys = joined(attention.past->keys, keys);
    values = joined(attention.past->values, values);
  }
  // Kept without the rest of the fused projection that they may be views of.
  if (attention.present) *attention.present = {keys.contiguous(), values.contiguous()};
  if (wanted == 0) return {};
  if (attention.shared) {
    keys = joined(per_candidate(attention.shared->keys, keys.size(0)), keys);
    values = joined(per_candidate(attention.shared->values, values.size(0)), values);
  }
  std::optional<Tensor> mask;
  if (attention.mask.defined()) mask = attention.mask.narrow(0, n - wanted, wanted);
  const auto o = dot_product_attention(query, keys, values, mask);
  return through(proj_, o.transpose(1, 2).flatten(2));
}

Tensor VideoBlock::feed_forward(const Tensor& u) const {
  auto hidden = through(fc1_, u);
  if (!fc3_) return through(fc2_, activate_temporary(std::move(hidden), Activation::gelu));
  return through(fc3_, activate_temporary(std::move(hidden), Activation::silu) * through(fc2_, u));
}

Tensor VideoBlock::forward(const Tensor& x, const Attention& attention) const {
  const auto attended = attend(through(norm1_, x), attention);
  if (!attended.defined()) return {};
  const auto wanted = attended.size(1);
  const auto y = x.narrow(1, x.size(1) - wanted, wanted) + attended;
  return y + feed_forward(through(norm2_, y));
}

}  // namespace foresight::nn
