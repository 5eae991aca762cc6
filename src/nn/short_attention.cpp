// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/short_attention.hpp"

#include <ATen/Dispatch.h>
#include <ATen/OpMathType.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <type_traits>

#include "foresight/core/error.hpp"

namespace foresight::nn {
namespace {

constexpr int64_t kLanes = 8;
constexpr int64_t kRowsOfTask = 256;

// One head of one row: where its tokens begin and how far apart they lie.
template <class T>
struct TokensOfHead {
  T* first;
  int64_t step;
  T* token(int64_t i) const { return first + i * step; }
};

namespace portable {
#include "short_attention.inl"
}

#if defined(__x86_64__) && defined(__GNUC__)
#define FORESIGHT_ATTENTION_AVX2
#include "avx2_begin.inl"
namespace avx2 {
#include "short_attention.inl"
}
#include "avx2_end.inl"
#endif

// Both give the same bits: without FMA, sums run in the same order.
template <class T>
void attend_in_head(TokensOfHead<const T> query, TokensOfHead<const T> keys,
                    TokensOfHead<const T> values, TokensOfHead<T> out, int64_t n, int64_t m,
                    int64_t width) {
#ifdef FORESIGHT_ATTENTION_AVX2
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (has_avx2) return avx2::attend(query, keys, values, out, n, m, width);
#endif
  portable::attend(query, keys, values, out, n, m, width);
}

}  // namespace

bool is_short_attention(const Tensor& query, const Tensor& keys, const Tensor& values) {
  const auto type = query.scalar_type();
  const auto takes = [&](const Tensor& x) {
    return x.device().is_cpu() && x.scalar_type() == type && x.stride(3) == 1;
  };
  return !at::GradMode::is_enabled() && keys.size(2) <= kShortAttention &&
         (type == at::kFloat || type == at::kDouble || type == at::kBFloat16) && takes(query) &&
         takes(keys) && takes(values);
}

Tensor short_attention(const Tensor& query, const Tensor& keys, const Tensor& values) {
  const auto rows = query.size(0), heads = query.size(1), n = query.size(2), width = query.size(3);
  const auto m = keys.size(2);
  check_shape("keys", keys, {rows, heads, kAny, width}, "[N,heads,m,w]");
  check_shape("values", values, keys.sizes(), "as keys");
  require(n >= 1 && n <= m && is_short_attention(query, keys, values),
          ErrorCategory::invalid_argument,
          "short_attention: " + std::to_string(n) + " queries of " + std::to_string(m) +
              " tokens on " + query.device().str() + " in " + c10::toString(query.scalar_type()) +
              ", expected 1 <= n <= m <= " + std::to_string(kShortAttention) +
              ", on the CPU, without gradients, in float32, float64 or bfloat16");
  auto result = at::empty({rows, n, heads, width}, query.options()).transpose(1, 2);
  AT_DISPATCH_FLOATING_TYPES_AND(at::kBFloat16, query.scalar_type(), "short_attention", [&] {
    const auto head = [](const Tensor& x, int64_t row, int64_t of) {
      return TokensOfHead<const scalar_t>{
          x.const_data_ptr<scalar_t>() + row * x.stride(0) + of * x.stride(1), x.stride(2)};
    };
    auto* out = result.mutable_data_ptr<scalar_t>();
    at::parallel_for(0, rows * heads, kRowsOfTask, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; ++r) {
        const auto row = r / heads, of = r % heads;
        attend_in_head<scalar_t>(
            head(query, row, of), head(keys, row, of), head(values, row, of),
            {out + row * result.stride(0) + of * result.stride(1), result.stride(2)}, n, m, width);
      }
    });
  });
  return result;
}

}  // namespace foresight::nn
