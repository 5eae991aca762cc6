// SPDX-License-Identifier: Apache-2.0
#include "gru_step.hpp"

#include <ATen/Parallel.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>

#include "foresight/core/lanes.hpp"

namespace foresight::nn {
namespace {

// Rows of a tile: their three gates fill 12 of 16 vector registers, or 24 of AVX-512's 32.
constexpr int64_t kGruRows = 4, kGruRowsAvx512 = 8;
constexpr int64_t kGruRowsOfTask = 16;
constexpr int64_t kGruElementsAvx512 = 16;

bool has_avx512() {
#if defined(__x86_64__)
  static const bool has = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512dq") &&
                          __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("fma");
  return has;
#else
  return false;
#endif
}

// Elements whose weights lie side by side.
int64_t elements_together(int64_t width) {
  return has_avx512() && width % kGruElementsAvx512 == 0 ? kGruElementsAvx512 : kGruElements;
}

struct GruRows {
  const float *latent, *action;
  float* next;
  int64_t latent_step, action_step, next_step;  // from row to row
  int64_t width, actions, together;
  const float *latent_weight, *action_weight, *bias, *norm_weight, *norm_bias;
  float epsilon;
};

template <class T>
T lanes_at(const float* from) {
  T x(0);
  std::memcpy(&x.v, from, sizeof(x.v));
  return x;
}

template <class T>
void put_lanes(const T& x, float* to) {
  std::memcpy(to, &x.v, sizeof(x.v));
}

template <class T>
float sum_of(const T& x) {
  float sum = 0;
  for (int i = 0; i < T::kWidth; ++i) sum += x[i];
  return sum;
}

template <class T>
T logistic(T x) {
  return T(1) / (T(1) + exp(-x));
}

// bias[element...] plus the action's part of gate `gate`.
template <class T>
T from_action(const GruRows& rows, int64_t row, int64_t gate, int64_t element) {
  T sum = lanes_at<T>(rows.bias + gate * rows.width + element);
  const float* action = rows.action + row * rows.action_step;
  const float* weight = rows.action_weight + gate * rows.width + element;
  for (int64_t a = 0; a < rows.actions; ++a)
    sum += T(action[a]) * lanes_at<T>(weight + 3 * rows.width * a);
  return sum;
}

// Hidden states of the elements [element, element + kWidth) of kCount rows, of which the last may
// be the same.
template <class T, std::size_t kCount>
void gru_tile(const GruRows& rows, const std::array<int64_t, kCount>& row, int64_t element) {
  const auto width = rows.width;
  std::array<std::array<T, 3>, kCount> sum;
  std::array<const float*, kCount> from;
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kCount; ++i) {
    sum[i] = {from_action<T>(rows, row[i], 0, element), from_action<T>(rows, row[i], 1, element),
              lanes_at<T>(rows.bias + 3 * width + element)};
    from[i] = rows.latent + row[i] * rows.latent_step;
  }
  const auto together = rows.together, step = 3 * together;
  const auto block = element / together, within = element % together;
  const float* weight = rows.latent_weight + block * step * width + within;
  for (int64_t d = 0; d < width; ++d, weight += step) {
    const T reset = lanes_at<T>(weight), keep = lanes_at<T>(weight + together),
            candidate = lanes_at<T>(weight + 2 * together);
#pragma GCC unroll 8
    for (std::size_t i = 0; i < kCount; ++i) {
      const T h(from[i][d]);
      sum[i][0] = sum[i][0] + h * reset;
      sum[i][1] = sum[i][1] + h * keep;
      sum[i][2] = sum[i][2] + h * candidate;
    }
  }
#pragma GCC unroll 8
  for (std::size_t i = 0; i < kCount; ++i) {
    const T fresh =
        tanh(from_action<T>(rows, row[i], 2, element) + logistic(sum[i][0]) * sum[i][2]);
    const T next = fresh + logistic(sum[i][1]) * (lanes_at<T>(from[i] + element) - fresh);
    put_lanes(next, rows.next + row[i] * rows.next_step + element);
  }
}

// Layer norm in two passes, as exact as one that subtracts the mean first.
template <class T>
void normalise_row(const GruRows& rows, float* h) {
  const auto count = static_cast<float>(rows.width);
  T sum(0), squares(0);
  for (int64_t d = 0; d < rows.width; d += T::kWidth) sum += lanes_at<T>(h + d);
  const T mean(sum_of(sum) / count);
  for (int64_t d = 0; d < rows.width; d += T::kWidth) {
    const T apart = lanes_at<T>(h + d) - mean;
    squares += apart * apart;
  }
  const T scale(1 / std::sqrt(sum_of(squares) / count + rows.epsilon));
  for (int64_t d = 0; d < rows.width; d += T::kWidth)
    put_lanes((lanes_at<T>(h + d) - mean) * scale * lanes_at<T>(rows.norm_weight + d) +
                  lanes_at<T>(rows.norm_bias + d),
              h + d);
}

// Elements outside, rows inside: weights of a few elements stay near while all rows pass.
template <class T, int64_t kCount>
void gru_rows(const GruRows& rows, int64_t begin, int64_t end) {
  for (int64_t element = 0; element < rows.width; element += T::kWidth)
    for (int64_t r = begin; r < end; r += kCount) {
      std::array<int64_t, kCount> row;
      for (int64_t i = 0; i < kCount; ++i)
        row[static_cast<std::size_t>(i)] = std::min(r + i, end - 1);
      gru_tile<T>(rows, row, element);
    }
  if (!rows.norm_weight) return;
  for (int64_t r = begin; r < end; ++r) normalise_row<T>(rows, rows.next + r * rows.next_step);
}

[[gnu::flatten]] void gru_rows_plain(const GruRows& rows, int64_t begin, int64_t end) {
  gru_rows<Lanes<float, 4>, kGruRows>(rows, begin, end);
}

#if defined(__x86_64__)
[[gnu::flatten, gnu::target("avx2,fma")]] void gru_rows_wide(const GruRows& rows, int64_t begin,
                                                             int64_t end) {
  gru_rows<Lanes<float, kGruElements>, kGruRows>(rows, begin, end);
}

// GCC splits vectors of 64 bytes unless told otherwise; Clang does not know how it is told.
#ifdef __clang__
#define FORESIGHT_GRU_AVX512 "avx512f,avx512dq,avx512bw,avx512vl,fma"
#else
#define FORESIGHT_GRU_AVX512 "avx512f,avx512dq,avx512bw,avx512vl,fma,prefer-vector-width=512"
#endif
[[gnu::flatten, gnu::target(FORESIGHT_GRU_AVX512)]] void gru_rows_avx512(const GruRows& rows,
                                                                         int64_t begin,
                                                                         int64_t end) {
  gru_rows<Lanes<float, kGruElementsAvx512>, kGruRowsAvx512>(rows, begin, end);
}
#endif

void gru_rows_of_task(const GruRows& rows, int64_t begin, int64_t end) {
#if defined(__x86_64__)
  static const bool wide = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  if (rows.together == kGruElementsAvx512) return gru_rows_avx512(rows, begin, end);
  if (wide) return gru_rows_wide(rows, begin, end);
#endif
  gru_rows_plain(rows, begin, end);
}

}  // namespace

GruStep::GruStep(const Tensor& action_weight, const Tensor& latent_weight,
                 const Tensor& action_bias, const Tensor& latent_bias)
    : together_(elements_together(latent_weight.size(1))) {
  const auto width = latent_weight.size(1);
  latent_weight_ = latent_weight.reshape({3, width / together_, together_, width})
                       .permute({1, 3, 0, 2})
                       .contiguous();
  action_weight_ = action_weight.t().contiguous();
  const auto a = action_bias.reshape({3, width}), h = latent_bias.reshape({3, width});
  bias_ = at::stack({a[0] + h[0], a[1] + h[1], a[2], h[2]});
}

void GruStep::set_norm(const Tensor& weight, const Tensor& bias, double epsilon) {
  norm_weight_ = weight.contiguous();
  norm_bias_ = bias.contiguous();
  epsilon_ = epsilon;
}

void GruStep::apply(const Tensor& latent, const Tensor& action, const Tensor& next) const {
  const auto data = [](const Tensor& x) {
    return x.defined() ? x.const_data_ptr<float>() : nullptr;
  };
  const GruRows rows{data(latent),         data(action),         next.mutable_data_ptr<float>(),
                     latent.stride(0),     action.stride(0),     next.stride(0),
                     latent.size(1),       action.size(1),       together_,
                     data(latent_weight_), data(action_weight_), data(bias_),
                     data(norm_weight_),   data(norm_bias_),     static_cast<float>(epsilon_)};
  at::parallel_for(0, latent.size(0), kGruRowsOfTask,
                   [&](int64_t begin, int64_t end) { gru_rows_of_task(rows, begin, end); });
}

}  // namespace foresight::nn
