// SPDX-License-Identifier: Apache-2.0
// The same code compiled for three kinds of processors, and for two kinds of numbers on each.
#include "packed_tasks.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>
#include <vector>

// What follows has internal linkage, so that no other file can end up with code for AVX2.
namespace foresight::nn::packing {
namespace {

namespace portable {
#include "packed_layers.inl"
}  // namespace portable

#if defined(__x86_64__) && defined(__GNUC__)
#define FORESIGHT_PACKED_AVX2
#include "avx2_begin.inl"
namespace avx2 {
#include "packed_layers.inl"
}  // namespace avx2
#define FORESIGHT_PACKED_AVX512
namespace avx512 {
#include "packed_layers.inl"
}  // namespace avx512
#include "avx2_end.inl"

// Integers of 16 bits are multiplied by VNNI's instructions.
template <class Value>
bool has_avx512() {
  static const bool has = has_fast_packing() && __builtin_cpu_supports("avx512f") &&
                          (!kHasScales<Value> || __builtin_cpu_supports("avx512vnni"));
  return has;
}
#endif

template <template <class> class Task, class Value>
void apply_anywhere(const Task<Value>& task, int64_t begin, int64_t end, PackedKernel kernel) {
#ifdef FORESIGHT_PACKED_AVX2
  if (kernel == PackedKernel::fastest && has_avx512<Value>())
    return avx512::apply_tiles(task, begin, end);
  if (kernel != PackedKernel::portable && has_fast_packing())
    return avx2::apply_tiles(task, begin, end);
#else
  static_cast<void>(kernel);
#endif
  portable::apply_tiles(task, begin, end);
}

}  // namespace

float quantise(const float* x, int64_t n, std::int16_t* to) {
  return portable::quantise_block(x, n, to);
}

template <class Value>
void apply_to_rows(const LinearTask<Value>& task, int64_t begin, int64_t end, PackedKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}
template <class Value>
void apply_to_rows(const FeedForwardTask<Value>& task, int64_t begin, int64_t end,
                   PackedKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}
template <class Value>
void apply_to_rows(const AdaLnTask<Value>& task, int64_t begin, int64_t end, PackedKernel kernel) {
  apply_anywhere(task, begin, end, kernel);
}

template void apply_to_rows(const LinearTask<float>&, int64_t, int64_t, PackedKernel);
template void apply_to_rows(const LinearTask<std::int16_t>&, int64_t, int64_t, PackedKernel);
template void apply_to_rows(const FeedForwardTask<float>&, int64_t, int64_t, PackedKernel);
template void apply_to_rows(const FeedForwardTask<std::int16_t>&, int64_t, int64_t, PackedKernel);
template void apply_to_rows(const AdaLnTask<float>&, int64_t, int64_t, PackedKernel);
template void apply_to_rows(const AdaLnTask<std::int16_t>&, int64_t, int64_t, PackedKernel);

}  // namespace foresight::nn::packing

namespace foresight::nn {

bool has_fast_packing() {
#ifdef FORESIGHT_PACKED_AVX2
  static const bool has = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  return has;
#else
  return false;
#endif
}

}  // namespace foresight::nn

#undef FORESIGHT_PACKED_AVX512
#undef FORESIGHT_PACKED_AVX2
