// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/noise.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <numbers>
#include <numeric>

#include "foresight/core/error.hpp"
#include "foresight/core/lanes.hpp"

namespace foresight {
namespace {

constexpr std::uint32_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
constexpr std::uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
constexpr int kRounds = 10;
constexpr std::int64_t kMask = 0xFFFFFFFF;

int64_t element_count(at::IntArrayRef shape) {
  int64_t count = 1;
  for (const auto size : shape) {
    require(size >= 0, ErrorCategory::invalid_argument,
            "random tensor of negative size " + shape_string(shape));
    count *= size;
  }
  return count;
}

at::ScalarType float_type(const at::TensorOptions& options) {
  const auto type = options.has_dtype() ? c10::typeMetaToScalarType(options.dtype()) : at::kFloat;
  require(at::isFloatingType(type), ErrorCategory::invalid_argument,
          std::string("random draws need a floating dtype, got ") + c10::toString(type));
  return type;
}

// (high, low) 32-bit halves of a 32 x 32 bit product, on int64 tensors that hold uint32 values. The
// product wraps as signed 64-bit, which keeps all its bits; the arithmetic shift is undone by the
// mask.
std::pair<Tensor, Tensor> multiply_halves(const Tensor& a, std::uint32_t b) {
  const auto product = a * static_cast<std::int64_t>(b);
  return {at::bitwise_and(at::bitwise_right_shift(product, 32), kMask),
          at::bitwise_and(product, kMask)};
}

// On the CPU: blocks are computed kChunk at a time, word by word, in loops that the compiler turns
// into vector code. Counter = (position low, position high, stream low, stream high), key = seed.
constexpr int kChunk = 64;
struct Chunk {
  std::uint32_t word[4][kChunk];
};
struct Source {
  std::uint64_t seed, stream;
};

inline std::uint32_t low32(std::uint64_t value) { return static_cast<std::uint32_t>(value); }
inline std::uint32_t high32(std::uint64_t value) { return static_cast<std::uint32_t>(value >> 32); }

// The keys of all rounds.
struct Schedule {
  std::uint32_t key0[kRounds], key1[kRounds];
  explicit Schedule(std::uint64_t seed) {
    for (std::uint32_t r = 0; r < kRounds; ++r) {
      key0[r] = low32(seed) + r * kWeyl0;
      key1[r] = high32(seed) + r * kWeyl1;
    }
  }
};

#ifdef __SSE2__
// 32-bit numbers in the lower halves of 64-bit ones, as the processor multiplies them; what is in
// the upper halves does not matter.
template <int kBytes>
struct Wide;
template <>
struct Wide<16> {
  typedef std::uint64_t Vector __attribute__((vector_size(16)));
  static void multiply(const Vector& a, std::uint64_t b, Vector& product) {
    product = reinterpret_cast<Vector>(
        _mm_mul_epu32(reinterpret_cast<__m128i>(a), _mm_set1_epi64x(static_cast<long long>(b))));
  }
};
template <>
struct Wide<32> {
  typedef std::uint64_t Vector __attribute__((vector_size(32)));
  [[gnu::target("avx2")]] static void multiply(const Vector& a, std::uint64_t b, Vector& product) {
    product = reinterpret_cast<Vector>(_mm256_mul_epu32(
        reinterpret_cast<__m256i>(a), _mm256_set1_epi64x(static_cast<long long>(b))));
  }
};

// T: Lanes<float, N>, whose registers are used.
template <class T>
void draw(const Source& source, const Schedule& schedule, std::uint64_t position, Chunk& chunk) {
  using W = Wide<sizeof(T)>;
  using Vector = typename W::Vector;
  constexpr int kBlocks = sizeof(Vector) / 8;
  constexpr int kAbreast = 2;  // independent vectors, which fill each other's waiting times
  for (int first = 0; first < kChunk; first += kAbreast * kBlocks) {
    Vector c0[kAbreast] = {}, c1[kAbreast] = {}, c2[kAbreast] = {}, c3[kAbreast] = {}, p0, p1;
    for (int a = 0; a < kAbreast; ++a) {
      for (int i = 0; i < kBlocks; ++i) {
        const auto block = position + static_cast<std::uint64_t>(first + a * kBlocks + i);
        c0[a][i] = block;
        c1[a][i] = high32(block);
      }
      c2[a] += low32(source.stream);
      c3[a] += high32(source.stream);
    }
    for (int r = 0; r < kRounds; ++r)
      for (int a = 0; a < kAbreast; ++a) {
        W::multiply(c0[a], kMultiplier0, p0);
        W::multiply(c2[a], kMultiplier1, p1);
        c0[a] = (p1 >> 32) ^ c1[a] ^ schedule.key0[r];
        c1[a] = p1;
        c2[a] = (p0 >> 32) ^ c3[a] ^ schedule.key1[r];
        c3[a] = p0;
      }
    for (int a = 0; a < kAbreast; ++a)
      for (int i = 0; i < kBlocks; ++i) {
        const int block = first + a * kBlocks + i;
        chunk.word[0][block] = low32(c0[a][i]);
        chunk.word[1][block] = low32(c1[a][i]);
        chunk.word[2][block] = low32(c2[a][i]);
        chunk.word[3][block] = low32(c3[a][i]);
      }
  }
}
#else
template <class T>
void draw(const Source& source, const Schedule& schedule, std::uint64_t position, Chunk& chunk) {
  for (int i = 0; i < kChunk; ++i) {
    const auto block = position + static_cast<std::uint64_t>(i);
    std::uint32_t c0 = low32(block), c1 = high32(block), c2 = low32(source.stream),
                  c3 = high32(source.stream);
    for (int r = 0; r < kRounds; ++r) {
      const std::uint64_t p0 = std::uint64_t{kMultiplier0} * c0;
      const std::uint64_t p1 = std::uint64_t{kMultiplier1} * c2;
      c0 = high32(p1) ^ c1 ^ schedule.key0[r];
      c1 = low32(p1);
      c2 = high32(p0) ^ c3 ^ schedule.key1[r];
      c3 = low32(p0);
    }
    chunk.word[0][i] = c0;
    chunk.word[1][i] = c1;
    chunk.word[2][i] = c2;
    chunk.word[3][i] = c3;
  }
}
#endif

// (top 24 bits + 1/2) / 2^24 in (0, 1). The half needs a 25th bit of mantissa in the upper half of
// the range, where float32 rounds to even; the largest value, 1 - 2^-25, would round to 1 and is
// pulled below it.
constexpr float kUnit = 0x1.0p-24F;
constexpr float kBelowOne = 0x1.fffffep-1F;
constexpr float kTwoPi = static_cast<float>(2.0 * std::numbers::pi);

// T: Lanes<float, N>, N words at a time.
template <class T>
T unit(const std::uint32_t* words) {
  using B = detail::LaneBits<T>;
  typename B::Integer::Vector loaded;
  std::memcpy(&loaded, words, sizeof(loaded));
  const typename B::Integer top((loaded >> 8) & 0xffffff);
  return min((B::convert(top) + T(0.5F)) * T(kUnit), T(kBelowOne));
}

// What a chunk becomes: out[4 * i + w] from word w of block i.
struct AsWords {
  using Value = std::int64_t;
  template <class T>
  static void put(const Chunk& chunk, Value* out) {
    for (int i = 0; i < kChunk; ++i)
      for (int w = 0; w < 4; ++w) out[4 * i + w] = chunk.word[w][i];
  }
};
// Computed in single precision whatever Number is, so that all precisions draw the same numbers.
template <class Number>
struct AsUniform {
  using Value = Number;
  template <class T>
  static void put(const Chunk& chunk, Value* out) {
    alignas(64) float value[4][kChunk];
    for (int w = 0; w < 4; ++w)
      for (int i = 0; i < kChunk; i += T::kWidth) {
        const auto u = unit<T>(chunk.word[w] + i);
        std::memcpy(value[w] + i, &u.v, sizeof(u.v));
      }
    for (int i = 0; i < kChunk; ++i)
      for (int w = 0; w < 4; ++w) out[4 * i + w] = static_cast<Value>(value[w][i]);
  }
};
// Box-Muller: words (0,1) and (2,3) give two normals each.
template <class Number>
struct AsNormal {
  using Value = Number;
  template <class T>
  static void put(const Chunk& chunk, Value* out) {
    alignas(64) float value[4][kChunk];
    for (int w = 0; w < 4; w += 2)
      for (int i = 0; i < kChunk; i += T::kWidth) {
        const T radius = sqrt(detail::log_of(unit<T>(chunk.word[w] + i)) * T(-2.0F));
        const auto turn = detail::sin_cos(unit<T>(chunk.word[w + 1] + i) * T(kTwoPi));
        const T x = radius * turn.cos, y = radius * turn.sin;
        std::memcpy(value[w] + i, &x.v, sizeof(x.v));
        std::memcpy(value[w + 1] + i, &y.v, sizeof(y.v));
      }
    for (int i = 0; i < kChunk; ++i)
      for (int w = 0; w < 4; ++w) out[4 * i + w] = static_cast<Value>(value[w][i]);
  }
};

template <class As, class T>
void fill_chunks(const Source& source, std::uint64_t position, typename As::Value* out,
                 std::int64_t count) {
  const Schedule schedule(source.seed);
  Chunk chunk;
  while (count > 0) {
    draw<T>(source, schedule, position, chunk);
    if (count >= 4 * kChunk) {
      As::template put<T>(chunk, out);
    } else {
      typename As::Value rest[4 * kChunk];
      As::template put<T>(chunk, rest);
      std::copy_n(rest, count, out);
    }
    position += kChunk;
    out += 4 * kChunk;
    count -= 4 * kChunk;
  }
}

template <class As>
[[gnu::flatten]] void fill_portable(const Source& source, std::uint64_t position,
                                    typename As::Value* out, std::int64_t count) {
  fill_chunks<As, Lanes<float>>(source, position, out, count);
}

#if defined(__x86_64__) && !defined(__AVX2__)
// The same operations in wider registers. Fused multiply-add stays off, so that the numbers are
// those of fill_portable() bit for bit.
template <class As>
[[gnu::flatten, gnu::target("avx2")]] void fill_avx2(const Source& source, std::uint64_t position,
                                                     typename As::Value* out, std::int64_t count) {
  fill_chunks<As, Lanes<float, 8>>(source, position, out, count);
}
#endif

template <class As>
void fill(const Source& source, std::uint64_t position, typename As::Value* out,
          std::int64_t count) {
#if defined(__x86_64__) && !defined(__AVX2__)
  static const bool wide = __builtin_cpu_supports("avx2") != 0;
  if (wide) {
    fill_avx2<As>(source, position, out, count);
    return;
  }
#endif
  fill_portable<As>(source, position, out, count);
}

// Most numbers that this processor draws for a GPU. The GPU's own draw is some 140 small kernels,
// and to launch them takes longer than this does.
constexpr std::int64_t kCopiedDraw = std::int64_t{1} << 16;

bool is_drawn_here(std::int64_t count, const at::Device& device) {
  return device.is_cpu() || (device.is_cuda() && count <= kCopiedDraw);
}

// Drawn by this processor, on `device`: numbers of `type`, but at least float32.
template <template <class> class As>
Tensor drawn(const Source& source, std::uint64_t start, at::IntArrayRef shape, at::ScalarType type,
             const at::Device& device) {
  const auto count = element_count(shape);
  const auto wide = type == at::kDouble ? at::kDouble : at::kFloat;
  // Page-locked for a GPU: the copy then waits for nothing that the GPU is still to do.
  const auto numbers = at::empty(shape, at::dtype(wide).pinned_memory(device.is_cuda()));
  if (wide == at::kDouble)
    fill<As<double>>(source, start, numbers.mutable_data_ptr<double>(), count);
  else
    fill<As<float>>(source, start, numbers.mutable_data_ptr<float>(), count);
  return device.is_cpu() ? numbers : numbers.to(device, /*non_blocking=*/true);
}

// Drawn by the device: the first elements of blocks [n,4] as a tensor of `shape`.
Tensor shaped(const Tensor& blocks, at::IntArrayRef shape) {
  return blocks.flatten().narrow(0, 0, element_count(shape)).reshape(shape);
}

// Uniforms in a type of few bits, where a value near an end would round to it.
Tensor rounded(const Tensor& uniform, at::ScalarType type) {
  if (!at::isReducedFloatingType(type)) return uniform.to(type);
  const double below_one = type == at::kHalf ? 0x1.ffcp-1 : 0x1.fep-1;
  return uniform.clamp(0x1.0p-24, below_one).to(type);
}

Tensor unit(const Tensor& words) {
  const auto top = at::bitwise_right_shift(words, 8).to(at::kFloat);
  return at::clamp_max((top + 0.5F) * kUnit, kBelowOne);
}

}  // namespace

std::array<std::uint32_t, 4> philox4x32(std::array<std::uint32_t, 4> c,
                                        std::array<std::uint32_t, 2> key) {
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t p0 = std::uint64_t{kMultiplier0} * c[0];
    const std::uint64_t p1 = std::uint64_t{kMultiplier1} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ key[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ key[1], static_cast<std::uint32_t>(p0)};
    key[0] += kWeyl0;
    key[1] += kWeyl1;
  }
  return c;
}

Tensor PhiloxNoise::words(std::uint64_t seed, std::uint64_t stream, std::uint64_t start,
                          std::int64_t count, const at::Device& device) {
  const auto options = at::TensorOptions().dtype(at::kLong).device(device);
  const auto position = at::arange(count, options) + static_cast<std::int64_t>(start);
  std::array<Tensor, 4> c{at::bitwise_and(position, kMask),
                          at::bitwise_and(at::bitwise_right_shift(position, 32), kMask),
                          at::full({count}, static_cast<std::int64_t>(stream & kMask), options),
                          at::full({count}, static_cast<std::int64_t>(stream >> 32), options)};
  auto k0 = static_cast<std::uint32_t>(seed), k1 = static_cast<std::uint32_t>(seed >> 32);
  for (int round = 0; round < kRounds; ++round) {
    const auto [high0, low0] = multiply_halves(c[0], kMultiplier0);
    const auto [high1, low1] = multiply_halves(c[2], kMultiplier1);
    c = {at::bitwise_xor(at::bitwise_xor(high1, c[1]), static_cast<std::int64_t>(k0)), low1,
         at::bitwise_xor(at::bitwise_xor(high0, c[3]), static_cast<std::int64_t>(k1)), low0};
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return at::stack({c[0], c[1], c[2], c[3]}, -1);
}

PhiloxNoise::PhiloxNoise(std::uint64_t seed, std::uint64_t stream) : seed_(seed), stream_(stream) {}

std::uint64_t PhiloxNoise::advance(std::int64_t count) {
  const auto start = position_;
  position_ += static_cast<std::uint64_t>((count + 3) / 4);
  return start;
}

Tensor PhiloxNoise::uniform(at::IntArrayRef shape, const at::TensorOptions& options) {
  const auto type = float_type(options);
  const auto device = options.device();
  const auto count = element_count(shape);
  const auto start = advance(count);
  if (is_drawn_here(count, device))
    return rounded(drawn<AsUniform>({seed_, stream_}, start, shape, type, device), type);
  return rounded(shaped(unit(words(seed_, stream_, start, (count + 3) / 4, device)), shape), type);
}

Tensor PhiloxNoise::normal(at::IntArrayRef shape, const at::TensorOptions& options) {
  const auto type = float_type(options);
  const auto device = options.device();
  const auto count = element_count(shape);
  const auto start = advance(count);
  if (is_drawn_here(count, device))
    return drawn<AsNormal>({seed_, stream_}, start, shape, type, device).to(type);
  const auto u = unit(words(seed_, stream_, start, (count + 3) / 4, device));
  const auto radius = at::sqrt(at::log(u.slice(1, 0, 4, 2)) * -2.0F);
  const auto angle = u.slice(1, 1, 4, 2) * kTwoPi;
  return shaped(at::stack({radius * at::cos(angle), radius * at::sin(angle)}, -1), shape).to(type);
}

Tensor PhiloxNoise::integer_words(std::int64_t count) {
  auto drawn = at::empty({count}, at::kLong);
  fill<AsWords>({seed_, stream_}, advance(count), drawn.data_ptr<std::int64_t>(), count);
  return drawn;
}

Tensor PhiloxNoise::integers(std::int64_t bound, at::IntArrayRef shape) {
  require(bound > 0 && bound <= kMask, ErrorCategory::invalid_argument,
          fmt::format("integers: bound = {} must be in 1..2^32-1", bound));
  const auto count = element_count(shape);
  const auto drawn = integer_words(count);
  return multiply_halves(drawn, static_cast<std::uint32_t>(bound)).first.reshape(shape);
}

std::vector<std::int64_t> PhiloxNoise::permutation(std::int64_t n) {
  require(n >= 0 && n <= kMask, ErrorCategory::invalid_argument,
          fmt::format("permutation: n = {} must be in 0..2^32-1", n));
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto drawn = integer_words(n);
  const auto* word = drawn.data_ptr<std::int64_t>();
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto j = static_cast<std::int64_t>(
        (static_cast<std::uint64_t>(word[i]) * static_cast<std::uint64_t>(i + 1)) >> 32);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  }
  return order;
}

}  // namespace foresight
