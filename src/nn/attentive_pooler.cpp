// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/attentive_pooler.hpp"

#include <algorithm>
#include <cmath>

#include "attention.hpp"
#include "foresight/nn/activation.hpp"
#include "foresight/nn/init.hpp"
#include "video_blocks.hpp"

namespace foresight::nn {

std::vector<std::string> AttentivePoolerOptions::validate() const {
  Rules rules("AttentivePoolerOptions");
  rules.check(self_attention >= 0, "self_attention", static_cast<double>(self_attention),
              "must be >= 0");
  rules.check(heads >= 1, "heads", static_cast<double>(heads), "must be >= 1");
  rules.check(mlp_width >= 0, "mlp_width", static_cast<double>(mlp_width), "must be >= 0");
  rules.check(std::isfinite(norm_epsilon) && norm_epsilon > 0, "norm_epsilon", norm_epsilon,
              "must be positive");
  return rules.problems();
}

AttentivePooler::AttentivePooler(int64_t width, const AttentivePoolerOptions& options)
    : options_(options), width_(width) {
  auto problems = options.validate();
  if (options.heads >= 1 && width % options.heads != 0)
    problems.push_back("AttentivePoolerOptions.heads = " + std::to_string(options.heads) +
                       " must divide the token width = " + std::to_string(width));
  throw_if_any(problems);
  query_ = register_parameter("query_tokens", at::zeros({1, 1, width}));
  const auto hidden = options.hidden(width);
  const VideoBlockSizes sizes{.width = width,
                              .heads = options.heads,
                              .mlp_width = hidden,
                              .norm_epsilon = options.norm_epsilon};
  blocks_ = video_blocks(*this, "blocks", sizes, options.self_attention);
  const auto norm = [&](const char* path) {
    return place(
        *this, path,
        torch::nn::LayerNorm(torch::nn::LayerNormOptions({width}).eps(options.norm_epsilon)));
  };
  const auto linear = [&](const char* path, int64_t in, int64_t out) {
    return place(*this, path, torch::nn::Linear(in, out));
  };
  norm1_ = norm("cross_attention_block.norm1");
  q_ = linear("cross_attention_block.xattn.q", width, width);
  kv_ = linear("cross_attention_block.xattn.kv", width, 2 * width);
  norm2_ = norm("cross_attention_block.norm2");
  fc1_ = linear("cross_attention_block.mlp.fc1", width, hidden);
  fc2_ = linear("cross_attention_block.mlp.fc2", hidden, width);
}

void AttentivePooler::initialise(Noise& noise) {
  constexpr double kStd = 0.02;
  init_normal(query_, kStd, noise);
  initialise_video_blocks(blocks_, noise);
  const auto depth = static_cast<double>(std::max<std::size_t>(blocks_.size(), 1));
  for (const auto& linear : {q_, kv_, fc1_, fc2_}) {
    const bool residual = linear.get() == fc2_.get();
    init_normal(linear->weight, residual ? kStd / std::sqrt(2 * depth) : kStd, noise);
    init_constant(linear->bias, 0.0);
  }
  for (const auto& norm : {norm1_, norm2_}) {
    init_constant(norm->weight, 1.0);
    init_constant(norm->bias, 0.0);
  }
}

Tensor AttentivePooler::forward(const Tensor& tokens) const {
  check_shape("tokens", tokens, {kAny, kAny, width_}, "[B,n,D]");
  auto x = tokens;
  for (const auto& block : blocks_) x = block->forward(x);
  const auto split = [&](const Tensor& y) {
    return y.unflatten(-1, {options_.heads, width_ / options_.heads}).transpose(1, 2);
  };
  const auto query = query_.expand({x.size(0), 1, width_});
  const auto kv = through(kv_, through(norm1_, x)).chunk(2, -1);
  const auto read = dot_product_attention(split(through(q_, query)), split(kv[0]), split(kv[1]));
  const auto q = query + read.transpose(1, 2).flatten(2);
  const auto hidden = activate_temporary(through(fc1_, through(norm2_, q)), Activation::gelu);
  return (q + through(fc2_, hidden)).select(1, 0);
}

}  // namespace foresight::nn
