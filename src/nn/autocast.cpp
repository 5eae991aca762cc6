// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/autocast.hpp"

namespace foresight::nn {

bool cpu_multiplies_bfloat16() {
#if defined(__x86_64__) && defined(__GNUC__)
  static const bool has =
      __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vl");
  return has;
#else
  return false;
#endif
}

}  // namespace foresight::nn
