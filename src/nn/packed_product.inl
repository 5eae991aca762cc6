// SPDX-License-Identifier: Apache-2.0
// Products of float32 rows with packed weights, in blocks of at most kBlock input channels. What is
// summed in which order no processor changes: the kernels for AVX-512 (packed_wide.inl), for AVX2
// and the portable one agree bit for bit.
//
// As float32, a block is summed channel by channel with one rounding each (fused multiply-add).
//
// As 16-bit integers (block floating point), each row's block is written as integers times one
// scale; so are the weights, per output channel and block. A block's sum is exact in 32 bits, what
// comes after it is float32. AVX2, and AVX-512's VNNI, multiply two pairs of 16-bit integers where
// they multiply one of floats. Why a sum cannot overflow: both factors of a block are scaled to a Euclidean norm of
// kNorm, and rounding moves each of at most 256 integers by at most 0.501, the norm by at most 8.1;
// by Cauchy and Schwarz the sum is at most (kNorm + 8.2)^2 < 46340^2 < 2^31. Sums on the way may
// wrap around, which leaves the last one as it is.
//
// Included once for every kind of processor, into a namespace and under target options of its own
// (packed_tasks.cpp).

typedef float Eight __attribute__((vector_size(32)));
typedef std::int32_t EightIntegers __attribute__((vector_size(32)));
constexpr int64_t kLanes = 8;

inline Eight load(const float* from) {
  Eight x;
  std::memcpy(&x, from, sizeof(x));
  return x;
}
inline void store(Eight x, float* to) { std::memcpy(to, &x, sizeof(x)); }
// The first `rest` of eight numbers, zeros behind them.
inline Eight load(const float* from, int64_t rest) {
  if (rest >= kLanes) return load(from);
  float some[kLanes] = {};
  std::copy_n(from, rest, some);
  return load(some);
}
inline void store(Eight x, float* to, int64_t rest) {
  if (rest >= kLanes) return store(x, to);
  float some[kLanes];
  store(x, some);
  std::copy_n(some, rest, to);
}
// body(first channel, how many of eight) for all of n channels.
template <class Body>
[[gnu::always_inline]] inline void by_lanes(int64_t n, Body body) {
  const auto full = n / kLanes * kLanes;
#pragma GCC unroll 2
  for (int64_t d = 0; d < full; d += kLanes) body(d, kLanes);
  if (full < n) body(full, n - full);
}
inline Eight all(float x) { return Eight{} + x; }
inline Eight larger(Eight a, Eight b) { return a < b ? b : a; }  // a NaN on the left stays
inline Eight smaller(Eight a, Eight b) { return b < a ? b : a; }
inline Eight size_of(Eight x) {
  return reinterpret_cast<Eight>(reinterpret_cast<EightIntegers>(x) & INT32_MAX);
}
inline float sum_of(Eight x) {
#ifdef __clang__
  x += __builtin_shufflevector(x, x, 4, 5, 6, 7, 0, 1, 2, 3);
  x += __builtin_shufflevector(x, x, 2, 3, 0, 1, 6, 7, 4, 5);
#else  // GCC 11 has only this one
  x += __builtin_shuffle(x, EightIntegers{4, 5, 6, 7, 0, 1, 2, 3});
  x += __builtin_shuffle(x, EightIntegers{2, 3, 0, 1, 6, 7, 4, 5});
#endif
  return x[0] + x[1];
}
inline float largest_of(Eight x) {
  float largest = x[0];
  for (int i = 1; i < kLanes; ++i) largest = std::max(largest, x[i]);
  return largest;
}
inline Eight as_float(const std::int32_t* from) {
  EightIntegers whole;
  std::memcpy(&whole, from, sizeof(whole));
  return __builtin_convertvector(whole, Eight);
}
// Rounded, halves away from zero.
inline EightIntegers nearest(Eight x) {
  const EightIntegers sign = reinterpret_cast<EightIntegers>(x) & INT32_MIN;
  const EightIntegers half = reinterpret_cast<EightIntegers>(all(0.5F)) | sign;
  return __builtin_convertvector(x + reinterpret_cast<Eight>(half), EightIntegers);
}

// exp(x) within 2 ulp for -87 <= x <= 0, exp(-87) below: detail::exp_of (core/lane_math.hpp) for
// eight.
inline Eight exp_of_negative(Eight x) {
  const Eight c = larger(x, all(-87.0F));
  const EightIntegers n = nearest(c * 1.44269504F);
  const Eight e = __builtin_convertvector(n, Eight);
  const Eight r = c - e * 0.693359375F - e * -2.12194440e-4F;
  Eight p = r * 1.9875691500e-4F + 1.3981999507e-3F;
  p = p * r + 8.3334519073e-3F;
  p = p * r + 4.1665795894e-2F;
  p = p * r + 1.6666665459e-1F;
  p = p * r + 5.0000001201e-1F;
  return (p * (r * r) + r + 1.0F) * reinterpret_cast<Eight>((n + 127) << 23);
}

// GELU by the error function: erf(x/sqrt(2)) = x p(x^2)/q(x^2), fitted on |x| <= 5.4, beyond which
// it is 1. Within 5e-7 max(1,|x|) of the exact value.
inline Eight gelu(Eight x) {
  const Eight c = smaller(larger(x, all(-5.4F)), all(5.4F));
  const Eight u = c * c;
  Eight p = u * 1.2415666788001545e-5F + 6.850477657280862e-4F;
  p = p * u + 1.1441432870924473e-2F;
  p = p * u + 1.0454798489809036e-1F;
  p = p * u + 7.978842258453369e-1F;
  Eight q = u * 5.215873102315527e-7F + 1.221869169967249e-4F;
  q = q * u + 2.877624938264489e-3F;
  q = q * u + 3.8964878767728806e-2F;
  q = q * u + 2.9769396781921387e-1F;
  q = q * u + 1.0F;
  return 0.5F * x * (1.0F + c * p / q);
}

// A block's largest size and sum of squares, taken in one pass.
struct Measure {
  Eight largest{}, squares{};

  void add(Eight x) {
    largest = larger(largest, size_of(x));
    squares += x * x;
  }
};

// Where squares of smaller and larger numbers would leave the range of a float, the block is
// measured again, times a power of two.
inline float norm_of(const Measure& measure, const float* x, int64_t n, float largest) {
  if (largest >= 0x1p-30F && largest < 0x1p55F) return std::sqrt(sum_of(measure.squares));
  const float factor = largest < 1 ? 0x1p60F : 0x1p-80F;
  Eight squares{};
  for (int64_t d = 0; d < n; d += kLanes) {
    const Eight scaled = load(x + d, n - d) * factor;
    squares += scaled * scaled;
  }
  return std::sqrt(sum_of(squares)) / factor;
}

// A block of n <= kBlock numbers as integers, padded with zeros to a multiple of kStep: x = scale *
// integer + an error of at most scale/2. Returns the scale; NaN where a number is not finite.
inline float quantise_measured(const Measure& measure, const float* x, int64_t n,
                               std::int16_t* to) {
  const float largest = largest_of(measure.largest);  // without NaNs, which their squares show
  const float norm = norm_of(measure, x, n, largest);
  if (!(largest >= kSmallest && largest < kOverflow) || norm != norm) {
    std::fill_n(to, rounded_up(n, kStep), std::int16_t{0});
    return largest < kSmallest && norm == norm ? 0 : NAN;
  }
  const float scale = std::max(norm / kNorm, largest / kLargest), factor = 1 / scale;
  typedef std::int16_t Shorts __attribute__((vector_size(16)));
  const auto put = [&](Eight some, std::int16_t* at) {
    const auto whole = __builtin_convertvector(nearest(some * factor), Shorts);
    std::memcpy(at, &whole, sizeof(whole));
  };
  const auto full = n / kLanes * kLanes;
  for (int64_t d = 0; d < full; d += kLanes) put(load(x + d), to + d);
  if (full < n) put(load(x + full, n - full), to + full);
  return scale;
}

inline float quantise_block(const float* x, int64_t n, std::int16_t* to) {
  Measure measure;
  const auto full = n / kLanes * kLanes;
  for (int64_t d = 0; d < full; d += kLanes) measure.add(load(x + d));
  if (full < n) measure.add(load(x + full, n - full));
  return quantise_measured(measure, x, n, to);
}

// A block in the form that is multiplied, padded with zeros to a multiple of kStep. Returns its scale.
inline float pack_block(const float* x, int64_t n, std::int16_t* to) {
  return quantise_block(x, n, to);
}
inline float pack_block(const float* x, int64_t n, float* to) {
  std::fill_n(std::copy_n(x, n, to), rounded_up(n, kStep) - n, 0.0F);
  return 1;
}

// The same for GELU(x), which it puts into x where it has to look at it twice. x is 0 behind n, up
// to a multiple of kLanes.
inline float pack_activated(float* x, int64_t n, std::int16_t* to) {
  Measure measure;
  for (int64_t d = 0; d < n; d += kLanes) {
    const Eight activated = gelu(load(x + d));
    measure.add(activated);
    store(activated, x + d);
  }
  return quantise_measured(measure, x, n, to);
}
inline float pack_activated(float* x, int64_t n, float* to) {
  for (int64_t d = 0; d < n; d += kLanes) store(gelu(load(x + d)), to + d);
  return 1;
}

// Sums of products of kRows rows with a panel, over 4 * quads channels: sums[kRows][kColumns]. Rows
// are `step` numbers apart.
#ifdef FORESIGHT_PACKED_AVX2

// In assembly as one piece: written with intrinsics, GCC 12 spills sums in the loop.
#define FORESIGHT_ROW(ADDRESS, LOW, HIGH)  \
  "vpbroadcastd " ADDRESS                  \
  ", %%ymm2\n\t"                           \
  "vpmaddwd %%ymm0, %%ymm2, %%ymm3\n\t"    \
  "vpmaddwd %%ymm1, %%ymm2, %%ymm2\n\t"    \
  "vpaddd %%ymm3, %%ymm" LOW ", %%ymm" LOW \
  "\n\t"                                   \
  "vpaddd %%ymm2, %%ymm" HIGH ", %%ymm" HIGH "\n\t"
#define FORESIGHT_PAIR(A, LEFT, RIGHT)                                                             \
  "vmovdqu " LEFT                                                                                  \
  "(%[panel]), %%ymm0\n\t"                                                                         \
  "vmovdqu " RIGHT "(%[panel]), %%ymm1\n\t" FORESIGHT_ROW(A "(%[upper])", "4", "5") FORESIGHT_ROW( \
      A "(%[upper],%[step])", "6", "7") FORESIGHT_ROW(A "(%[upper],%[step],2)", "8", "9")          \
      FORESIGHT_ROW(A "(%[lower])", "10", "11") FORESIGHT_ROW(A "(%[lower],%[step])", "12", "13")  \
          FORESIGHT_ROW(A "(%[lower],%[step],2)", "14", "15")
#define FORESIGHT_ZERO(N) "vpxor %%ymm" N ", %%ymm" N ", %%ymm" N "\n\t"
#define FORESIGHT_KEEP(N, AT) "vmovdqu %%ymm" N ", " AT "(%[sums])\n\t"

#define FORESIGHT_FLOAT_ROW(ADDRESS, LOW, HIGH)  \
  "vbroadcastss " ADDRESS                        \
  ", %%ymm2\n\t"                                 \
  "vfmadd231ps %%ymm0, %%ymm2, %%ymm" LOW "\n\t" \
  "vfmadd231ps %%ymm1, %%ymm2, %%ymm" HIGH "\n\t"
#define FORESIGHT_FLOAT_CHANNEL(A, LEFT, RIGHT)                                                \
  "vmovups " LEFT                                                                              \
  "(%[panel]), %%ymm0\n\t"                                                                     \
  "vmovups " RIGHT                                                                             \
  "(%[panel]), %%ymm1\n\t" FORESIGHT_FLOAT_ROW(A "(%[upper])", "4", "5") FORESIGHT_FLOAT_ROW(  \
      A "(%[upper],%[step])", "6", "7") FORESIGHT_FLOAT_ROW(A "(%[upper],%[step],2)", "8", "9") \
      FORESIGHT_FLOAT_ROW(A "(%[lower])", "10", "11")                                          \
          FORESIGHT_FLOAT_ROW(A "(%[lower],%[step])", "12", "13")                              \
              FORESIGHT_FLOAT_ROW(A "(%[lower],%[step],2)", "14", "15")
// BODY: four channels, of ROW_BYTES a row.
#define FORESIGHT_TILE(BODY, ROW_BYTES, PANEL_BYTES)                                          \
  asm volatile(                                                                               \
      FORESIGHT_ZERO("4") FORESIGHT_ZERO("5") FORESIGHT_ZERO("6") FORESIGHT_ZERO("7")         \
      FORESIGHT_ZERO("8") FORESIGHT_ZERO("9") FORESIGHT_ZERO("10") FORESIGHT_ZERO("11")       \
      FORESIGHT_ZERO("12") FORESIGHT_ZERO("13") FORESIGHT_ZERO("14") FORESIGHT_ZERO("15")     \
      ".p2align 5\n\t"                                                                        \
      "1:\n\t"                                                                                \
      BODY                                                                                    \
      "add $" ROW_BYTES ", %[upper]\n\t"                                                      \
      "add $" ROW_BYTES ", %[lower]\n\t"                                                      \
      "add $" PANEL_BYTES ", %[panel]\n\t"                                                    \
      "dec %[quads]\n\t"                                                                      \
      "jnz 1b\n\t"                                                                            \
      FORESIGHT_KEEP("4", "0") FORESIGHT_KEEP("5", "32") FORESIGHT_KEEP("6", "64")            \
      FORESIGHT_KEEP("7", "96") FORESIGHT_KEEP("8", "128") FORESIGHT_KEEP("9", "160")         \
      FORESIGHT_KEEP("10", "192") FORESIGHT_KEEP("11", "224") FORESIGHT_KEEP("12", "256")     \
      FORESIGHT_KEEP("13", "288") FORESIGHT_KEEP("14", "320") FORESIGHT_KEEP("15", "352")     \
      : [upper] "+&r"(rows), [lower] "+&r"(lower), [panel] "+&r"(panel), [quads] "+&r"(quads) \
      : [step] "r"(bytes), [sums] "r"(sums)                                                   \
      : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8", "xmm9",       \
        "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15", "memory", "cc")

inline void multiply_tile(const std::int16_t* rows, int64_t step, const std::int16_t* panel,
                          int64_t quads, std::int32_t* sums) {
  const auto* lower = rows + 3 * step;
  const auto bytes = step * static_cast<int64_t>(sizeof(*rows));
  FORESIGHT_TILE(FORESIGHT_PAIR("0", "0", "32") FORESIGHT_PAIR("4", "64", "96"), "8", "128");
}
inline void multiply_tile(const float* rows, int64_t step, const float* panel, int64_t quads,
                          float* sums) {
  const auto* lower = rows + 3 * step;
  const auto bytes = step * static_cast<int64_t>(sizeof(*rows));
  FORESIGHT_TILE(FORESIGHT_FLOAT_CHANNEL("0", "0", "32") FORESIGHT_FLOAT_CHANNEL("4", "64", "96")
                     FORESIGHT_FLOAT_CHANNEL("8", "128", "160")
                         FORESIGHT_FLOAT_CHANNEL("12", "192", "224"),
                 "16", "256");
}

#undef FORESIGHT_FLOAT_ROW
#undef FORESIGHT_FLOAT_CHANNEL
#undef FORESIGHT_TILE
#undef FORESIGHT_ROW
#undef FORESIGHT_PAIR
#undef FORESIGHT_ZERO
#undef FORESIGHT_KEEP

#else

inline void multiply_tile(const std::int16_t* rows, int64_t step, const std::int16_t* panel,
                          int64_t quads, std::int32_t* sums) {
  std::uint32_t sum[kRows * kColumns] = {};  // unsigned: may wrap around on the way
  for (int64_t pair = 0; pair < 2 * quads; ++pair)
    for (int64_t i = 0; i < kRows; ++i) {
      const std::int32_t a = rows[i * step + 2 * pair], b = rows[i * step + 2 * pair + 1];
      const std::int16_t* w = panel + pair * 2 * kColumns;
      for (int64_t c = 0; c < kColumns; ++c)
        sum[i * kColumns + c] +=
            static_cast<std::uint32_t>(a * w[2 * c]) + static_cast<std::uint32_t>(b * w[2 * c + 1]);
    }
  std::memcpy(sums, sum, sizeof(sum));
}

inline void multiply_tile(const float* rows, int64_t step, const float* panel, int64_t quads,
                          float* sums) {
  std::fill_n(sums, kRows * kColumns, 0.0F);
  for (int64_t k = 0; k < 4 * quads; ++k)
    for (int64_t i = 0; i < kRows; ++i)
      for (int64_t c = 0; c < kColumns; ++c)
        sums[i * kColumns + c] =
            std::fma(rows[i * step + k], panel[k * kColumns + c], sums[i * kColumns + c]);
}

#endif

// Scales of a panel's channels; floats have none.
template <class Sum>
struct ScalesOf;
template <>
struct ScalesOf<std::int32_t> {
  explicit ScalesOf(const float* at) : left(load(at)), right(load(at + kLanes)) {}
  Eight left, right;
};
template <>
struct ScalesOf<float> {
  explicit ScalesOf(const float*) {}
};

// A row of a tile: c = from + its sums.
inline void finish_row(const std::int32_t* sum, const ScalesOf<std::int32_t>& of_channels,
                       float of_row, const float* from, float* c) {
  store(load(from) + as_float(sum) * of_channels.left * of_row, c);
  store(load(from + kLanes) + as_float(sum + kLanes) * of_channels.right * of_row, c + kLanes);
}
inline void finish_row(const float* sum, const ScalesOf<float>&, float, const float* from,
                       float* c) {
  store(load(from) + load(sum), c);
  store(load(from + kLanes) + load(sum + kLanes), c + kLanes);
}
