// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/adaln_block.hpp"

#include "foresight/nn/init.hpp"
#include "foresight/nn/packed_adaln.hpp"

namespace foresight::nn {
namespace {

constexpr int64_t kParts = 6;  // shift, scale and gate, twice

Tensor modulated(const Tensor& x, const Tensor& shift, const Tensor& one_plus_scale) {
  return at::addcmul(shift, at::layer_norm(x, {x.size(-1)}, {}, {}, kPlainNormEpsilon),
                     one_plus_scale);
}

}  // namespace

AdaLnBlock::AdaLnBlock(const AdaLnBlockSizes& sizes) : sizes_(sizes) {
  attention_ =
      register_module("attn", std::make_shared<FrameAttention>(FrameAttentionSizes{
                                  sizes.width, sizes.heads, sizes.head_width, sizes.dropout}));
  feed_forward_ = register_module(
      "mlp", std::make_shared<NormedFeedForward>(sizes.width, sizes.mlp_width, sizes.dropout));
  modulation_ =
      place(*this, "adaLN_modulation.1", torch::nn::Linear(sizes.width, kParts * sizes.width));
}

void AdaLnBlock::initialise(Noise& noise) {
  init_layers(*this, noise);
  init_constant(modulation_->weight, 0.0);
  init_constant(modulation_->bias, 0.0);
}

Tensor AdaLnBlock::forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                           KeyValues* present, Outputs outputs, Mode mode) const {
  if (packed_ && packed_->computes(x, mode))
    return packed_->forward(x, modulation, past, present, outputs);
  const auto part = [&x](const Tensor& m, int64_t i) {
    const auto of_frames = m.select(-2, i);
    return x.dim() == 4 ? of_frames.unsqueeze(-2) : of_frames;  // the same for a frame's tokens
  };
  const auto u = modulated(x, part(modulation, 0), part(modulation, 1));
  const auto attended = attention_->forward(u, past, present, outputs, mode);
  if (outputs == Outputs::none) return {};
  const bool only_last = outputs == Outputs::last;
  const auto m = only_last ? modulation.slice(1, modulation.size(1) - 1) : modulation;
  auto y = only_last ? x.slice(1, x.size(1) - 1) : x;
  y = at::addcmul(y, part(m, 2), attended);
  const auto fed = feed_forward_->forward(modulated(y, part(m, 3), part(m, 4)), mode);
  return at::addcmul(y, part(m, 5), fed);
}

void AdaLnBlock::use_packed(const Packing& packing) {
  const bool fits = attention_->output() && sizes_.head_width <= kWidestPackedHead;
  if (packing.format == PackedFormat::float32 && !(fits && can_pack_float32(parameters()))) return;
  packed_ = std::make_shared<PackedAdaLn>(*this, packing);
}

void AdaLnBlock::use_prepacked() {
  attention_->use_prepacked();
  feed_forward_->use_prepacked();
}

void AdaLnBlock::drop_packed() {
  packed_ = nullptr;
  attention_->drop_packed();
  feed_forward_->drop_packed();
}

// The 1 of (1 + scale) is added to the bias.
ModulationWeights modulation_weights(const std::vector<std::shared_ptr<AdaLnBlock>>& blocks) {
  std::vector<Tensor> weights, biases;
  for (const auto& block : blocks) {
    weights.push_back(block->modulation_layer()->weight);
    biases.push_back(block->modulation_layer()->bias);
  }
  auto one = at::zeros({1, kParts, 1}, biases.front().options());
  one.select(1, 1).fill_(1);
  one.select(1, 4).fill_(1);
  const std::vector<int64_t> shape{static_cast<int64_t>(blocks.size()), kParts, -1};
  return {at::cat(weights), (at::cat(biases).view(shape) + one).flatten()};
}

Tensor modulations(const std::vector<std::shared_ptr<AdaLnBlock>>& blocks,
                   const Tensor& condition) {
  const auto [weight, bias] = modulation_weights(blocks);
  return apply_linear(at::silu(condition), weight, bias)
      .unflatten(-1, {static_cast<int64_t>(blocks.size()), kParts, -1});
}

}  // namespace foresight::nn
