// SPDX-License-Identifier: Apache-2.0
// Attention among a few tokens, in many heads of many rows: what a predictor with a window of two
// or three frames does for every candidate. On a CPU, general attention spends several times the
// arithmetic on setting up each of these small products.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// Most keys of short_attention().
inline constexpr int64_t kShortAttention = 8;

/// Whether short_attention() takes these: on the CPU, no gradient recorded, at most kShortAttention
/// keys, rows of heads contiguous.
FORESIGHT_API bool is_short_attention(const Tensor& query, const Tensor& keys,
                                      const Tensor& values);

/// Causal attention, softmax(q k / sqrt(w)) v: query [N,heads,n,w] are the last n of the m tokens
/// of keys and values [N,heads,m,w], 1 <= n <= m; each sees the tokens up to itself. Result
/// [N,heads,n,w], laid out so that heads of a token lie side by side. Computed in float32 for half
/// types.
FORESIGHT_API Tensor short_attention(const Tensor& query, const Tensor& keys, const Tensor& values);

}  // namespace foresight::nn
