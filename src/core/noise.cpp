// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/noise.hpp"

#include <fmt/format.h>

#include <numbers>
#include <numeric>

#include "foresight/core/error.hpp"

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

// Counter = (position low, position high, stream low, stream high), key = seed. On the CPU a plain
// loop, elsewhere the same integer arithmetic composed of tensor operations; the test compares the
// two.
Tensor PhiloxNoise::blocks(std::int64_t count, const at::Device& device) {
  const auto low32 = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
  const std::array<std::uint32_t, 2> key{low32(seed_), low32(seed_ >> 32)};
  const std::uint32_t s0 = low32(stream_), s1 = low32(stream_ >> 32);
  const std::uint64_t start = position_;
  position_ += static_cast<std::uint64_t>(count);
  if (device.is_cpu()) {
    auto drawn = at::empty({count, 4}, at::kLong);
    auto* out = drawn.data_ptr<std::int64_t>();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint64_t p = start + static_cast<std::uint64_t>(i);
      const auto block = philox4x32({low32(p), low32(p >> 32), s0, s1}, key);
      for (int lane = 0; lane < 4; ++lane) out[4 * i + lane] = block[lane];
    }
    return drawn;
  }
  return words(seed_, stream_, start, count, device);
}

// (top 24 bits + 1/2) / 2^24 in (0, 1). The half needs a 25th bit of mantissa in the upper half of
// the range, where float32 rounds to even; the largest value, 1 - 2^-25, would round to 1 and is
// pulled below it.
Tensor PhiloxNoise::uniform_blocks(std::int64_t count, const at::Device& device) {
  constexpr float kScale = 0x1.0p-24F;
  constexpr float kBelowOne = 0x1.fffffep-1F;
  if (device.is_cpu()) {
    const std::uint64_t start = position_;
    position_ += static_cast<std::uint64_t>(count);
    const auto low32 = [](std::uint64_t v) { return static_cast<std::uint32_t>(v); };
    const std::array<std::uint32_t, 2> key{low32(seed_), low32(seed_ >> 32)};
    auto u = at::empty({count, 4}, at::kFloat);
    auto* out = u.data_ptr<float>();
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint64_t p = start + static_cast<std::uint64_t>(i);
      const auto block =
          philox4x32({low32(p), low32(p >> 32), low32(stream_), low32(stream_ >> 32)}, key);
      for (int lane = 0; lane < 4; ++lane)
        out[4 * i + lane] =
            std::min((static_cast<float>(block[lane] >> 8) + 0.5F) * kScale, kBelowOne);
    }
    return u;
  }
  const auto top = at::bitwise_right_shift(blocks(count, device), 8).to(at::kFloat);
  return at::clamp_max((top + 0.5F) * kScale, kBelowOne);
}

Tensor PhiloxNoise::uniform(at::IntArrayRef shape, const at::TensorOptions& options) {
  const auto count = element_count(shape);
  return uniform_blocks((count + 3) / 4, options.device())
      .flatten()
      .narrow(0, 0, count)
      .reshape(shape)
      .to(float_type(options));
}

Tensor PhiloxNoise::normal(at::IntArrayRef shape, const at::TensorOptions& options) {
  const auto count = element_count(shape);
  const auto u = uniform_blocks((count + 3) / 4, options.device());
  // Box-Muller: lanes (0,1) and (2,3) give two normals each.
  const auto radius = at::sqrt(at::log(u.slice(1, 0, 4, 2)) * -2.0F);
  const auto angle = u.slice(1, 1, 4, 2) * static_cast<float>(2.0 * std::numbers::pi);
  return at::stack({radius * at::cos(angle), radius * at::sin(angle)}, -1)
      .flatten()
      .narrow(0, 0, count)
      .reshape(shape)
      .to(float_type(options));
}

Tensor PhiloxNoise::integers(std::int64_t bound, at::IntArrayRef shape) {
  require(bound > 0 && bound <= kMask, ErrorCategory::invalid_argument,
          fmt::format("integers: bound = {} must be in 1..2^32-1", bound));
  const auto count = element_count(shape);
  const auto drawn = blocks((count + 3) / 4, at::kCPU).flatten().narrow(0, 0, count);
  return multiply_halves(drawn, static_cast<std::uint32_t>(bound)).first.reshape(shape);
}

std::vector<std::int64_t> PhiloxNoise::permutation(std::int64_t n) {
  require(n >= 0 && n <= kMask, ErrorCategory::invalid_argument,
          fmt::format("permutation: n = {} must be in 0..2^32-1", n));
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  const auto drawn = blocks((n + 3) / 4, at::kCPU);
  const auto* word = drawn.data_ptr<std::int64_t>();
  for (std::int64_t i = n - 1; i > 0; --i) {
    const auto j = static_cast<std::int64_t>(
        (static_cast<std::uint64_t>(word[i]) * static_cast<std::uint64_t>(i + 1)) >> 32);
    std::swap(order[static_cast<std::size_t>(i)], order[static_cast<std::size_t>(j)]);
  }
  return order;
}

Tensor RecordedNoise::next(at::IntArrayRef shape, const at::TensorOptions& options) {
  require(
      !draws_.empty(), ErrorCategory::invalid_argument,
      "RecordedNoise: a draw of shape " + shape_string(shape) + " was asked for, but none is left");
  require(draws_.front().sizes() == shape, ErrorCategory::invalid_argument,
          "RecordedNoise: a draw of shape " + shape_string(shape) +
              " was asked for, the next recorded one has " + shape_string(draws_.front().sizes()));
  auto draw = draws_.front().to(options);
  draws_.pop_front();
  return draw;
}

Tensor RecordedNoise::normal(at::IntArrayRef shape, const at::TensorOptions& options) {
  return next(shape, options);
}

Tensor RecordedNoise::uniform(at::IntArrayRef shape, const at::TensorOptions& options) {
  return next(shape, options);
}

}  // namespace foresight
