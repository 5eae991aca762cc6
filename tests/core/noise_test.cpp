// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/noise.hpp"

#include <algorithm>
#include <cmath>

#include "catch.hpp"
#include "foresight/core/error.hpp"

namespace foresight::noise_test {

TEST_CASE("Philox 4x32-10 gives the published known answers") {
  // Random123 distribution, kat_vectors: counter, key -> result.
  using Block = std::array<std::uint32_t, 4>;
  CHECK(philox4x32({0, 0, 0, 0}, {0, 0}) == Block{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  const std::uint32_t f = 0xffffffff;
  CHECK(philox4x32({f, f, f, f}, {f, f}) == Block{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  CHECK(philox4x32({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        Block{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("the tensor form of Philox used off the CPU equals the scalar form bit for bit") {
  const std::uint64_t seed = 0x299f31d0a4093822, stream = 0x0370734413198a2e;
  const std::uint64_t start =
      0x85a308d3243f6a88 - 3;  // crosses no 32-bit carry; the next case does
  for (const auto first : {start, std::uint64_t{0xffffffff} - 2}) {
    const auto words = PhiloxNoise::words(seed, stream, first, 7, at::kCPU);
    for (std::int64_t i = 0; i < 7; ++i) {
      const auto position = first + static_cast<std::uint64_t>(i);
      const auto expected = philox4x32(
          {static_cast<std::uint32_t>(position), static_cast<std::uint32_t>(position >> 32),
           static_cast<std::uint32_t>(stream), static_cast<std::uint32_t>(stream >> 32)},
          {static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)});
      for (int lane = 0; lane < 4; ++lane)
        CHECK(words[i][lane].item<std::int64_t>() == static_cast<std::int64_t>(expected[lane]));
    }
  }
}

namespace {

// Box-Muller in double precision on the documented uniforms; the angle is rounded to float32 first,
// as everywhere.
std::vector<double> exact_normals(std::uint32_t seed, std::uint32_t stream, std::uint32_t blocks) {
  std::vector<double> values;
  for (std::uint32_t i = 0; i < blocks; ++i) {
    const auto words = philox4x32({i, 0, stream, 0}, {seed, 0});
    for (int pair = 0; pair < 2; ++pair) {
      const auto unit = [&](std::uint32_t word) {
        return std::min((static_cast<float>(word >> 8) + 0.5F) * 0x1.0p-24F, 0x1.fffffep-1F);
      };
      const double radius = std::sqrt(-2.0 * std::log(double{unit(words[2 * pair])}));
      const double angle = unit(words[2 * pair + 1]) * static_cast<float>(2.0 * M_PI);
      values.push_back(radius * std::cos(angle));
      values.push_back(radius * std::sin(angle));
    }
  }
  return values;
}

}  // namespace

TEST_CASE("normal draws are Box-Muller on the documented uniforms, within 4 ulp") {
  // 1003 is not a whole number of blocks, nor of what the loop computes at a time.
  PhiloxNoise noise(7, 3);
  const auto z = noise.normal({17, 59});
  const auto expected = exact_normals(7, 3, 251);
  const auto* value = z.data_ptr<float>();
  double worst = 0;
  for (int64_t i = 0; i < z.numel(); ++i) {
    const double exact = expected[static_cast<std::size_t>(i)];
    const float size = std::abs(static_cast<float>(exact));
    worst = std::max(worst, std::abs(value[i] - exact) / (std::nextafter(size, INFINITY) - size));
  }
  CHECK(worst < 4.0);
}

TEST_CASE("uniform draws are the documented function of the words, bit for bit") {
  PhiloxNoise noise(7, 3);
  const auto u = noise.uniform({1003});
  const auto words = PhiloxNoise::words(7, 3, 0, 251, at::kCPU).flatten();
  for (int64_t i = 0; i < 1003; ++i) {
    const auto top = static_cast<float>(words[i].item<int64_t>() >> 8);
    CHECK(u[i].item<float>() == std::min((top + 0.5F) * 0x1.0p-24F, 0x1.fffffep-1F));
  }
}

TEST_CASE("a draw of any length begins like a longer one") {
  const auto all = PhiloxNoise(3).normal({1000});
  for (const int64_t n : {1, 3, 4, 255, 256, 257, 511, 513})
    CHECK(at::equal(PhiloxNoise(3).normal({n}), all.narrow(0, 0, n)));
}

TEST_CASE("draws have the moments of their distribution and never reach the ends") {
  PhiloxNoise noise(1);
  const int64_t n = 1 << 20;
  const auto z = noise.normal({n}).to(at::kDouble);
  CHECK(std::abs(z.mean().item<double>()) < 5.0 / std::sqrt(n));
  CHECK(z.var().item<double>() == Approx(1.0).margin(5.0 * std::sqrt(2.0 / n)));
  CHECK(z.pow(4).mean().item<double>() == Approx(3.0).margin(5.0 * std::sqrt(96.0 / n)));
  const auto u = noise.uniform({n});
  CHECK(u.min().item<float>() > 0.0F);
  CHECK(u.max().item<float>() < 1.0F);
  CHECK(u.to(at::kDouble).mean().item<double>() == Approx(0.5).margin(5.0 / std::sqrt(12.0 * n)));
}

TEST_CASE("uniform draws of few bits never reach the ends either") {
  for (const auto type : {at::kBFloat16, at::kHalf}) {
    INFO(c10::toString(type));
    PhiloxNoise noise(1);
    const auto u = noise.uniform({1 << 20}, type);
    CHECK(u.scalar_type() == type);
    CHECK(u.gt(0).all().item<bool>());
    CHECK(u.lt(1).all().item<bool>());
    CHECK(at::log(-at::log(u.to(at::kFloat))).isfinite().all().item<bool>());
  }
}

TEST_CASE("a seed repeats, streams differ, and seek continues a run") {
  PhiloxNoise a(5), b(5), other_stream(5, 1), other_seed(6);
  const auto first = a.normal({3, 4});
  CHECK(at::equal(first, b.normal({3, 4})));
  CHECK_FALSE(at::equal(first, other_stream.normal({3, 4})));
  CHECK_FALSE(at::equal(first, other_seed.normal({3, 4})));
  const auto position = a.position();
  const auto second = a.normal({2});
  CHECK_FALSE(at::equal(second, first.flatten().narrow(0, 0, 2)));
  PhiloxNoise resumed(5);
  resumed.seek(position);
  CHECK(at::equal(second, resumed.normal({2})));
}

TEST_CASE("integers are uniform below their bound and permutations hold every index once") {
  PhiloxNoise noise(11);
  const auto draws = noise.integers(10, {100000});
  const auto counts = at::bincount(draws, {}, 10).to(at::kDouble);
  CHECK(draws.max().item<int64_t>() == 9);
  const auto chi2 = ((counts - 1e4).square() / 1e4).sum().item<double>();
  CHECK(chi2 < 33.7);  // 9 degrees of freedom, p = 1e-4
  auto order = noise.permutation(1000);
  CHECK_FALSE(std::is_sorted(order.begin(), order.end()));
  std::sort(order.begin(), order.end());
  for (int64_t i = 0; i < 1000; ++i) CHECK(order[static_cast<std::size_t>(i)] == i);
  CHECK_THROWS_AS(noise.integers(0, {1}), Error);
}

TEST_CASE("recorded noise replays in order and refuses another shape") {
  RecordedNoise noise;
  noise.push(at::ones({2, 3}));
  noise.push(at::zeros({2}));
  CHECK(at::equal(noise.normal({2, 3}), at::ones({2, 3})));
  CHECK_THROWS_WITH(noise.uniform({3}), Catch::Contains("[3]") && Catch::Contains("[2]"));
  CHECK(noise.remaining() == 1);
  noise.uniform({2});
  CHECK_THROWS_AS(noise.normal({1}), Error);
}

TEST_CASE("integer dtypes and negative sizes are refused") {
  PhiloxNoise noise(1);
  CHECK_THROWS_AS(noise.normal({2}, at::kLong), Error);
  CHECK_THROWS_AS(noise.normal({-2}), Error);
  CHECK(noise.normal({0, 3}).numel() == 0);
  CHECK(noise.normal({3}, at::kDouble).scalar_type() == at::kDouble);
}

}  // namespace foresight::noise_test
