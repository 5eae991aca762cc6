// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/fixed_point_adaln.hpp"

#include <ATen/Parallel.h>

#include "fixed_point_tasks.hpp"

namespace foresight::nn {
namespace {

using fixed_point::AdaLnTask;
using fixed_point::PackedWeights;

constexpr int64_t kCandidatesOfTask = 8;

std::shared_ptr<const PackedWeights> packed(const torch::nn::Linear& layer, int64_t block) {
  return std::make_shared<PackedWeights>(layer->weight, layer->bias, block);
}

// Every head of every part begins at a panel.
std::shared_ptr<const PackedWeights> packed_qkv(const torch::nn::Linear& layer,
                                                const AdaLnBlockSizes& sizes) {
  const auto missing =
      fixed_point::rounded_up(sizes.head_width, fixed_point::kColumns) - sizes.head_width;
  const auto by_head = layer->weight.detach().view({3, sizes.heads, sizes.head_width, sizes.width});
  return std::make_shared<PackedWeights>(
      at::constant_pad_nd(by_head, {0, 0, 0, missing}).flatten(0, 2), Tensor(),
      fixed_point::kBlock);
}

// Attention of a token that sees itself alone: its values, through the output projection.
std::shared_ptr<const PackedWeights> packed_lone_out(const AdaLnBlock& block) {
  const auto qkv = block.attention().qkv()->weight.detach();
  const auto values = qkv.narrow(0, qkv.size(0) / 3 * 2, qkv.size(0) / 3).to(at::kDouble);
  const auto& out = block.attention().output();
  return std::make_shared<PackedWeights>(out->weight.detach().to(at::kDouble).matmul(values),
                                         out->bias, fixed_point::kBlock);
}

std::vector<Tensor> weights_of(const AdaLnBlock& block) {
  std::vector<Tensor> tensors;
  for (const auto& part : {block.attention().parameters(), block.feed_forward().parameters()})
    tensors.insert(tensors.end(), part.begin(), part.end());
  return tensors;
}

fixed_point::NormView view_of(const torch::nn::LayerNorm& norm) {
  return {norm->weight.const_data_ptr<float>(), norm->bias.const_data_ptr<float>(),
          static_cast<float>(norm->options.eps())};
}

// Rows of `tokens` heads side by side.
fixed_point::PastView past_view(const Tensor& past) {
  return {past.const_data_ptr<float>(), past.stride(0), past.stride(1), past.stride(2)};
}

// Heads' channels lie side by side.
Tensor with_dense_rows(const Tensor& past) {
  check_fixed_point_input(past);
  return past.stride(3) == 1 ? past : past.contiguous();
}

}  // namespace

FixedPointAdaLn::FixedPointAdaLn(const AdaLnBlock& block, FixedPointKernel kernel)
    : sizes_(block.sizes()),
      attention_norm_(block.attention().norm()),
      feed_forward_norm_(block.feed_forward().norm()),
      frozen_(weights_of(block)),
      kernel_(kernel) {
  require(static_cast<bool>(block.attention().output()), ErrorCategory::unsupported,
          "fixed point: an attention with one head as wide as the block has no output projection "
          "and is not computed in fixed point");
  require(sizes_.head_width <= fixed_point::kBlock, ErrorCategory::unsupported,
          "fixed point: head_width = " + std::to_string(sizes_.head_width) +
              " must be <= " + std::to_string(fixed_point::kBlock));
  check_fixed_point_input(attention_norm_->weight.detach());
  qkv_ = packed_qkv(block.attention().qkv(), sizes_);
  // Whole heads, so that attention can hand over one block at a time.
  const auto heads_of_block = fixed_point::kBlock / sizes_.head_width;
  attention_out_ = packed(block.attention().output(), heads_of_block * sizes_.head_width);
  lone_out_ = packed_lone_out(block);
  hidden_ = packed(block.feed_forward().hidden(), fixed_point::kBlock);
  out_ = packed(block.feed_forward().output(), fixed_point::kBlock);
}

Tensor FixedPointAdaLn::forward(const Tensor& x, const Tensor& modulation, const KeyValues* past,
                                KeyValues* present, Outputs outputs) const {
  require(x.dim() == 3, ErrorCategory::unsupported,
          "fixed point: an AdaLN block takes one token a frame, x [N,L,width]; got " +
              shape_string(x.sizes()));
  check_shape("x", x, {kAny, kAny, sizes_.width}, "[N,L,width]");
  const auto rows = x.size(0), tokens = x.size(1);
  require(tokens >= 1, ErrorCategory::invalid_argument,
          "fixed point: x " + shape_string(x.sizes()) + " holds no token");
  check_shape("modulation", modulation, {rows, tokens, 6, sizes_.width}, "[N,L,6,width]");
  check_fixed_point_input(x);
  check_fixed_point_input(modulation);
  frozen_.check("fixed-point AdaLN block");
  const auto input = x.contiguous();
  const bool dense = modulation.stride(3) == 1 && modulation.stride(2) == sizes_.width;
  const auto m = dense ? modulation : modulation.contiguous();

  AdaLnTask task{};
  task.qkv = qkv_->view(), task.attention_out = attention_out_->view();
  task.lone_out = lone_out_->view();
  task.hidden = hidden_->view(), task.out = out_->view();
  task.attention_norm = view_of(attention_norm_);
  task.feed_forward_norm = view_of(feed_forward_norm_);
  task.plain_epsilon = static_cast<float>(kPlainNormEpsilon);
  task.width = sizes_.width, task.heads = sizes_.heads, task.head_width = sizes_.head_width;
  task.tokens = tokens;
  task.first_output = outputs == Outputs::all ? 0 : outputs == Outputs::last ? tokens - 1 : tokens;
  task.x = input.const_data_ptr<float>();
  task.modulation = m.const_data_ptr<float>();
  task.modulation_row = m.stride(0), task.modulation_token = m.stride(1);

  KeyValues earlier;
  if (past) {
    earlier = {with_dense_rows(past->keys), with_dense_rows(past->values)};
    check_shape("past keys", earlier.keys, {kAny, sizes_.heads, kAny, sizes_.head_width},
                "[N,heads,m,w]");
    check_shape("past values", earlier.values, earlier.keys.sizes(), "as keys");
    const auto problems = earlier.keys.size(0);
    require(problems >= 1 && rows % problems == 0, ErrorCategory::invalid_argument,
            "fixed point: " + std::to_string(rows) + " rows cannot share " +
                std::to_string(problems) + " rows of earlier keys");
    task.earlier = earlier.keys.size(2);
    task.rows_of_past = rows / problems;
    task.past_keys = past_view(earlier.keys), task.past_values = past_view(earlier.values);
  }
  task.rows_of_past = std::max<int64_t>(1, task.rows_of_past);
  KeyValues all;
  if (present) {
    const auto room = [&] {
      return at::empty({rows, task.earlier + tokens, sizes_.heads, sizes_.head_width},
                       input.options());
    };
    all = {room(), room()};
    task.present_keys = all.keys.mutable_data_ptr<float>();
    task.present_values = all.values.mutable_data_ptr<float>();
  }
  auto y = at::empty({rows, tokens - task.first_output, sizes_.width}, input.options());
  task.y = y.mutable_data_ptr<float>();
  at::parallel_for(0, rows, kCandidatesOfTask, [&](int64_t begin, int64_t end) {
    fixed_point::apply_to_rows(task, begin, end, kernel_);
  });
  if (present) *present = {all.keys.transpose(1, 2), all.values.transpose(1, 2)};
  return outputs == Outputs::none ? Tensor() : y;
}

}  // namespace foresight::nn
