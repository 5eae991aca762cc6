// SPDX-License-Identifier: Apache-2.0
// The same code compiled for two processors.
#include "fixed_point_tasks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

// What follows has internal linkage, so that no other file can end up with code for AVX2.
namespace foresight::nn::fixed_point {
namespace {

namespace portable {
// Each needs the ones before it.
// clang-format off
#include "fixed_point_product.inl"
#include "fixed_point_rows.inl"
#include "fixed_point_adaln.inl"
#include "fixed_point_tiles.inl"
// clang-format on
}  // namespace portable

#if defined(__x86_64__) && defined(__GNUC__)
#define FORESIGHT_FIXED_POINT_AVX2
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("avx2")
#endif
namespace avx2 {
// Each needs the ones before it.
// clang-format off
#include "fixed_point_product.inl"
#include "fixed_point_rows.inl"
#include "fixed_point_adaln.inl"
#include "fixed_point_tiles.inl"
// clang-format on
}  // namespace avx2
#ifdef __clang__
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif
#endif

template <class Task>
void apply_anywhere(const Task& task, int64_t begin, int64_t end, FixedPointKernel kernel) {
#ifdef FORESIGHT_FIXED_POINT_AVX2
  static const bool has_avx2 = __builtin_cpu_supports("avx2");
  if (kernel == FixedPointKernel::fastest && has_avx2) return avx2::apply_tiles(task, begin, end);
#else
  static_cast<void>(kernel);
#endif
  portable::apply_tiles(task, begin, end);
}

#undef FORESIGHT_FIXED_POINT_AVX2

}  // namespace

float quantise(const float* x, int64_t n, std::int16_t* to) {
  return portable::quantise_block(x, n, to);
}

void apply_to_rows(const LinearTask& task, int64_t begin, int64_t end, FixedPointKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}
void apply_to_rows(const FeedForwardTask& task, int64_t begin, int64_t end,
                   FixedPointKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}
void apply_to_rows(const AdaLnTask& task, int64_t begin, int64_t end, FixedPointKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}

}  // namespace foresight::nn::fixed_point
