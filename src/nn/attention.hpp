// SPDX-License-Identifier: Apache-2.0
// Softmax attention by LibTorch, of any number of rows.
#pragma once

#include <ATen/ATen.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// query [N,h,n,w], keys and values [N,h,m,w] -> [N,h,n,w]. `mask`: of all rows, [n,m] (true or 0
/// where a key is seen). Every row of a batch is on its own; CUDA's kernels for half-width types
/// launch at most 65535 of them, so that more are attended to in parts.
inline Tensor dot_product_attention(const Tensor& query, const Tensor& keys, const Tensor& values,
                                    const std::optional<Tensor>& mask = std::nullopt,
                                    double dropout = 0.0, bool is_causal = false) {
  constexpr int64_t kRows = 65535;
  const auto rows = query.size(0);
  if (!query.is_cuda() || rows <= kRows)
    return at::scaled_dot_product_attention(query, keys, values, mask, dropout, is_causal);
  std::vector<Tensor> parts;
  for (int64_t first = 0; first < rows; first += kRows) {
    const auto part = [&](const Tensor& tensor) {
      return tensor.narrow(0, first, std::min(kRows, rows - first));
    };
    parts.push_back(at::scaled_dot_product_attention(part(query), part(keys), part(values), mask,
                                                     dropout, is_causal));
  }
  return at::cat(parts);
}

}  // namespace foresight::nn
