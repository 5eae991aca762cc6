// SPDX-License-Identifier: Apache-2.0
// Attention of one head over its few tokens, in a type that is wide enough; included once for every
// kind of processor, into a namespace and under target options of its own (short_attention.cpp).

// kLanes numbers of the type that sums are in.
template <class Wide>
struct LanesOf;
template <>
struct LanesOf<float> {
  typedef float type __attribute__((vector_size(kLanes * sizeof(float))));
};
template <>
struct LanesOf<double> {
  typedef double type __attribute__((vector_size(kLanes * sizeof(double))));
};
template <class Wide>
using Lanes = typename LanesOf<Wide>::type;
typedef std::uint16_t Halves __attribute__((vector_size(kLanes * sizeof(std::uint16_t))));
typedef std::uint32_t Bits __attribute__((vector_size(kLanes * sizeof(std::uint32_t))));

template <class T>
inline Lanes<T> widened(const T* from) {
  Lanes<T> x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}
// bfloat16 is the upper half of a float's bits.
inline Lanes<float> widened(const at::BFloat16* from) {
  Halves halves;
  std::memcpy(&halves, from, sizeof(halves));
  return reinterpret_cast<Lanes<float>>(__builtin_convertvector(halves, Bits) << 16);
}

template <class T>
inline void rounded(Lanes<T> x, T* to) {
  std::memcpy(to, &x, sizeof(x));
}
// To the nearest, halves to even; what is not a number stays none.
inline void rounded(Lanes<float> x, at::BFloat16* to) {
  const auto bits = reinterpret_cast<Bits>(x);
  const auto nearest = (bits + 0x7FFFU + ((bits >> 16) & 1U)) >> 16;
  const auto halves = __builtin_convertvector(x == x ? nearest : Bits{} + 0x7FC0U, Halves);
  std::memcpy(to, &halves, sizeof(halves));
}

// Two sums at a time, so that one is not waited for.
template <class T, class Wide = at::opmath_type<T>>
inline Wide scalar_product(const T* a, const T* b, int64_t width) {
  Lanes<Wide> even{}, odd{};
  int64_t i = 0;
  for (; i + 2 * kLanes <= width; i += 2 * kLanes) {
    even += widened(a + i) * widened(b + i);
    odd += widened(a + i + kLanes) * widened(b + i + kLanes);
  }
  even += odd;
  const auto at_once = [&](int64_t lane) { return even[lane] + even[lane + kLanes / 2]; };
  Wide total = (at_once(0) + at_once(2)) + (at_once(1) + at_once(3));
  for (; i < width; ++i) total += static_cast<Wide>(a[i]) * static_cast<Wide>(b[i]);
  return total;
}

// The mean of the first `count` tokens, kLanes channels at a time.
template <class T, class Wide = at::opmath_type<T>>
inline void weighted_mean(const std::array<Wide, kShortAttention>& weight,
                          TokensOfHead<const T> values, int64_t count, T* mean, int64_t width) {
  int64_t d = 0;
  for (; d + kLanes <= width; d += kLanes) {
    Lanes<Wide> sums{};
    for (int64_t j = 0; j < count; ++j)
      sums += weight[static_cast<std::size_t>(j)] * widened(values.token(j) + d);
    rounded(sums, mean + d);
  }
  for (; d < width; ++d) {
    Wide sum = 0;
    for (int64_t j = 0; j < count; ++j)
      sum += weight[static_cast<std::size_t>(j)] * static_cast<Wide>(values.token(j)[d]);
    mean[d] = static_cast<T>(sum);
  }
}

template <class T>
inline void attend(TokensOfHead<const T> query, TokensOfHead<const T> keys,
                   TokensOfHead<const T> values, TokensOfHead<T> out, int64_t n, int64_t m,
                   int64_t width) {
  using Wide = at::opmath_type<T>;
  const Wide scale = 1 / std::sqrt(static_cast<Wide>(width));
  for (int64_t i = 0; i < n; ++i) {
    const auto seen = m - n + i + 1;
    std::array<Wide, kShortAttention> weight{};
    Wide largest = -INFINITY, sum = 0;
    for (int64_t j = 0; j < seen; ++j) {
      auto& score = weight[static_cast<std::size_t>(j)];
      score = scale * scalar_product(query.token(i), keys.token(j), width);
      largest = std::max(largest, score);
    }
    for (int64_t j = 0; j < seen; ++j) {
      auto& share = weight[static_cast<std::size_t>(j)];
      share = std::exp(share - largest);
      sum += share;
    }
    for (auto& share : weight) share /= sum;
    weighted_mean(weight, values, seen, out.token(i), width);
  }
}
