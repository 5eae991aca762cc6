// SPDX-License-Identifier: Apache-2.0
// Whole layers with packed weights, a tile of rows at a time, so that what is between two products
// stays in the processor's caches. Results depend neither on the tiles nor on the processor.
#pragma once

#include "packed_weights.hpp"

namespace foresight::nn::packing {

template <class Value>
struct LinearTask {
  WeightsView<Value> weights;
  const float* x;  // [N, x_step]
  int64_t x_step;
  float* y;  // [N,out]
};
template <class Value>  // guides: Clang deduces aggregates from 17 on
LinearTask(WeightsView<Value>, const float*, int64_t, float*)->LinearTask<Value>;
/// Rows [begin, end) of y = x W' + b.
template <class Value>
void apply_to_rows(const LinearTask<Value>& task, int64_t begin, int64_t end, PackedKernel kernel);

template <class Value>
struct FeedForwardTask {
  WeightsView<Value> in, out;
  const float* x;  // [N, x_step]
  int64_t x_step;
  float* y;  // [N,out]
};
template <class Value>
FeedForwardTask(WeightsView<Value>, WeightsView<Value>, const float*, int64_t, float*)
    -> FeedForwardTask<Value>;
/// Rows [begin, end) of y = GELU(x W1' + b1) W2' + b2.
template <class Value>
void apply_to_rows(const FeedForwardTask<Value>& task, int64_t begin, int64_t end,
                   PackedKernel kernel);

/// One layer norm's weight and bias [width].
struct NormView {
  const float *weight, *bias;
  float epsilon;
};

/// Where the keys or values of earlier tokens lie.
struct PastView {
  const float* data = nullptr;
  int64_t row = 0, head = 0, token = 0;  // steps
};

/// What an AdaLN block with one token a frame reads and writes.
struct AdaLnRows {
  NormView attention_norm, feed_forward_norm;
  float plain_epsilon;
  int64_t width, heads, head_width;
  int64_t tokens, earlier;  // own and earlier tokens of a row
  int64_t first_output;     // first token whose output is wanted; `tokens`: none
  const float* x;           // [N,tokens,width]
  const float* modulation;  // [N,tokens,6,width]: of a row and token at the steps below
  int64_t modulation_row, modulation_token;
  PastView past_keys, past_values;
  int64_t rows_of_past;                  // rows that share one row of the past
  float *present_keys, *present_values;  // [N,earlier+tokens,heads,head_width] or null
  float* y;                              // [N,tokens-first_output,width]
};
/// nn::AdaLnBlock::forward() of them.
template <class Value>
struct AdaLnTask : AdaLnRows {
  WeightsView<Value> qkv;  // a head's channels start at a panel: [3][heads][head_width, padded]
  WeightsView<Value> attention_out, hidden, out;
  WeightsView<Value> lone_out;  // values and output projection in one, for a lone token
};
template <class Value>
AdaLnTask(AdaLnRows, WeightsView<Value>, WeightsView<Value>, WeightsView<Value>, WeightsView<Value>,
          WeightsView<Value>) -> AdaLnTask<Value>;
/// Rows [begin, end), all tokens of each.
template <class Value>
void apply_to_rows(const AdaLnTask<Value>& task, int64_t begin, int64_t end, PackedKernel kernel);

}  // namespace foresight::nn::packing
