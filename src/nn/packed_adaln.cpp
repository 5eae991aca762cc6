// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/packed_adaln.hpp"

#include <ATen/Parallel.h>

#include "packed_tasks.hpp"

namespace foresight::nn {
namespace {

using packing::AdaLnTask;
using packing::AnyWeights;

constexpr int64_t kCandidatesOfTask = 8;

// Every head of every part begins at a panel.
std::shared_ptr<const AnyWeights> packed_qkv(const torch::nn::Linear& layer,
                                             const AdaLnBlockSizes& sizes, PackedFormat format) {
  const auto missing = packing::rounded_up(sizes.head_width, packing::kColumns) - sizes.head_width;
  const auto by_head = layer->weight.detach().view({3, sizes.heads, sizes.head_width, sizes.width});
  return packing::packed(at::constant_pad_nd(by_head, {0, 0, 0, missing}).flatten(0, 2), Tensor(),
                         format);
}

// Attention of a token that sees itself alone: its values, through the output projection.
std::shared_ptr<const AnyWeights> packed_lone_out(const AdaLnBlock& block, PackedFormat format) {
  const auto qkv = block.attention().qkv()->weight.detach();
  const auto values = qkv.narrow(0, qkv.size(0) / 3 * 2, qkv.size(0) / 3).to(at::kDouble);
  const auto& out = block.attention().output();
  return packing::packed(out->weight.detach().to(at::kDouble).matmul(values), out->bias, format);
}

std::vector<Tensor> weights_of(const AdaLnBlock& block) {
  std::vector<Tensor> tensors;
  for (const auto& part : {block.attention().parameters(), block.feed_forward().parameters()})
    tensors.insert(tensors.end(), part.begin(), part.end());
  return tensors;
}

packing::NormView view_of(const torch::nn::LayerNorm& norm) {
  return {norm->weight.const_data_ptr<float>(), norm->bias.const_data_ptr<float>(),
          static_cast<float>(norm->options.eps())};
}

// Rows of `tokens` heads side by side.
packing::PastView past_view(const Tensor& past) {
  return {past.const_data_ptr<float>(), past.stride(0), past.stride(1), past.stride(2)};
}

// Heads' channels lie side by side.
Tensor with_dense_rows(const Tensor& past) {
  check_packed_input(past);
  return past.stride(3) == 1 ? past : past.contiguous();
}

}  // namespace

PackedAdaLn::PackedAdaLn(const AdaLnBlock& block, const Packing& packing)
    : sizes_(block.sizes()),
      attention_norm_(block.attention().norm()),
      feed_forward_norm_(block.feed_forward().norm()),
      frozen_(weights_of(block)),
      packing_(packing) {
  require(static_cast<bool>(block.attention().output()), ErrorCategory::unsupported,
          "packed AdaLN block: an attention with one head as wide as the block has no output "
          "projection and has no such form");
  static_assert(kWidestPackedHead == packing::kBlock);
  require(sizes_.head_width <= kWidestPackedHead, ErrorCategory::unsupported,
          "packed AdaLN block: head_width = " + std::to_string(sizes_.head_width) +
              " must be <= " + std::to_string(kWidestPackedHead));
  check_packed_input(attention_norm_->weight.detach());
  const auto packed = [&](const torch::nn::Linear& layer, int64_t of_block) {
    return packing::packed(layer->weight, layer->bias, packing.format, of_block);
  };
  qkv_ = packed_qkv(block.attention().qkv(), sizes_, packing.format);
  // Whole heads, so that attention can hand over one block at a time.
  const auto heads_of_block = packing::kBlock / sizes_.head_width;
  attention_out_ = packed(block.attention().output(), heads_of_block * sizes_.head_width);
  lone_out_ = packed_lone_out(block, packing.format);
  hidden_ = packed(block.feed_forward().hidden(), packing::kBlock);
  out_ = packed(block.feed_forward().output(), packing::kBlock);
}

bool PackedAdaLn::computes(const Tensor& x, Mode mode) const {
  return packed_computes(frozen_, packing_.format, mode, "packed AdaLN block") &&
         (packing_.format == PackedFormat::fixed16 || x.dim() == 3);
}

Tensor PackedAdaLn::forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                            KeyValues* present, Outputs outputs) const {
  require(x.dim() == 3, ErrorCategory::unsupported,
          "packed AdaLN block: it takes one token a frame, x [N,L,width]; got " +
              shape_string(x.sizes()));
  check_shape("x", x, {kAny, kAny, sizes_.width}, "[N,L,width]");
  const auto rows = x.size(0), tokens = x.size(1);
  require(tokens >= 1, ErrorCategory::invalid_argument,
          "packed AdaLN block: x " + shape_string(x.sizes()) + " holds no token");
  check_shape("modulation", modulation, {rows, tokens, 6, sizes_.width}, "[N,L,6,width]");
  check_packed_input(x);
  check_packed_input(modulation);
  const auto input = x.contiguous();
  const bool dense = modulation.stride(3) == 1 && modulation.stride(2) == sizes_.width;
  const auto m = dense ? modulation : modulation.contiguous();

  packing::AdaLnRows block{};
  block.attention_norm = view_of(attention_norm_);
  block.feed_forward_norm = view_of(feed_forward_norm_);
  block.plain_epsilon = static_cast<float>(kPlainNormEpsilon);
  block.width = sizes_.width, block.heads = sizes_.heads, block.head_width = sizes_.head_width;
  block.tokens = tokens;
  block.first_output = outputs == Outputs::all ? 0 : outputs == Outputs::last ? tokens - 1 : tokens;
  block.x = input.const_data_ptr<float>();
  block.modulation = m.const_data_ptr<float>();
  block.modulation_row = m.stride(0), block.modulation_token = m.stride(1);

  KeyValues earlier;
  if (past) {
    earlier = {with_dense_rows(past->keys), with_dense_rows(past->values)};
    check_shape("past keys", earlier.keys, {kAny, sizes_.heads, kAny, sizes_.head_width},
                "[N,heads,m,w]");
    check_shape("past values", earlier.values, earlier.keys.sizes(), "as keys");
    const auto problems = earlier.keys.size(0);
    require(problems >= 1 && rows % problems == 0, ErrorCategory::invalid_argument,
            "packed AdaLN block: " + std::to_string(rows) + " rows cannot share " +
                std::to_string(problems) + " rows of earlier keys");
    block.earlier = earlier.keys.size(2);
    block.rows_of_past = rows / problems;
    block.past_keys = past_view(earlier.keys), block.past_values = past_view(earlier.values);
  }
  block.rows_of_past = std::max<int64_t>(1, block.rows_of_past);
  KeyValues all;
  if (present) {
    const auto room = [&] {
      return at::empty({rows, block.earlier + tokens, sizes_.heads, sizes_.head_width},
                       input.options());
    };
    all = {room(), room()};
    block.present_keys = all.keys.mutable_data_ptr<float>();
    block.present_values = all.values.mutable_data_ptr<float>();
  }
  auto y = at::empty({rows, tokens - block.first_output, sizes_.width}, input.options());
  block.y = y.mutable_data_ptr<float>();
  qkv_->visit([&](const auto& qkv) {
    const auto view = [&](const Weights& weights) { return weights->like(qkv).view(); };
    const AdaLnTask task{block,         qkv.view(), view(attention_out_),
                         view(hidden_), view(out_), view(lone_out_)};
    at::parallel_for(0, rows, kCandidatesOfTask, [&](int64_t begin, int64_t end) {
      packing::apply_to_rows(task, begin, end, packing_.kernel);
    });
  });
  if (present) *present = {all.keys.transpose(1, 2), all.values.transpose(1, 2)};
  return outputs == Outputs::none ? Tensor() : y;
}

}  // namespace foresight::nn
