// SPDX-License-Identifier: Apache-2.0
// Attention of few tokens against its formula in float64.
#include "foresight/nn/short_attention.hpp"

#include <ATen/core/grad_mode.h>

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "threads.hpp"

namespace foresight::short_attention_test {

namespace {

// softmax(q k' / sqrt(w) + mask) v in float64; query i of n is token m-n+i of m.
Tensor by_formula(const Tensor& query, const Tensor& keys, const Tensor& values) {
  const auto q = query.to(at::kDouble), k = keys.to(at::kDouble), v = values.to(at::kDouble);
  const auto n = q.size(2), m = k.size(2);
  const auto later = at::ones({n, m}, at::kBool).triu(m - n + 1);
  const auto scores = at::matmul(q, k.transpose(2, 3)) / std::sqrt(double(q.size(3)));
  return at::matmul(scores.masked_fill(later, -INFINITY).softmax(3), v);
}

double largest_error(const Tensor& actual, const Tensor& expected) {
  return (actual.to(at::kDouble) - expected).abs().max().item<double>();
}

}  // namespace

TEST_CASE("short attention is the formula for every number of queries, keys and channels") {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(1);
  for (const int64_t width : {1, 7, 16, 64, 70})
    for (int64_t m = 1; m <= nn::kShortAttention; ++m)
      for (int64_t n = 1; n <= m; ++n) {
        INFO("width " << width << ", " << n << " queries, " << m << " keys");
        const auto draw = [&](int64_t tokens) {
          return noise.normal({5, 3, tokens, width}, at::kDouble);
        };
        const auto q = draw(n), k = draw(m), v = draw(m);
        const auto expected = by_formula(q, k, v);
        const auto attended = nn::short_attention(q, k, v);
        CHECK(attended.sizes() == expected.sizes());
        CHECK(largest_error(attended, expected) < 1e-13);
        const auto single =
            nn::short_attention(q.to(at::kFloat), k.to(at::kFloat), v.to(at::kFloat));
        CHECK(largest_error(single, expected) < 2e-5);
      }
}

TEST_CASE("short attention takes the strided parts of one product, and any number of rows") {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(2);
  constexpr int64_t kHeads = 4, kWidth = 8, kTokens = 3;
  const auto qkv = noise.normal({200, kTokens, 3 * kHeads * kWidth});
  std::vector<Tensor> parts;
  for (const auto& part : qkv.chunk(3, -1))
    parts.push_back(part.unflatten(-1, {kHeads, kWidth}).transpose(1, 2));
  REQUIRE_FALSE(parts[0].is_contiguous());
  const auto expected = by_formula(parts[0], parts[1], parts[2]);
  const auto attended = nn::short_attention(parts[0], parts[1], parts[2]);
  CHECK(largest_error(attended, expected) < 1e-5);
  CHECK(attended.transpose(1, 2).is_contiguous());
  const auto none = nn::short_attention(parts[0].narrow(0, 0, 0), parts[1].narrow(0, 0, 0),
                                        parts[2].narrow(0, 0, 0));
  CHECK(none.sizes() == at::IntArrayRef({0, kHeads, kTokens, kWidth}));
}

TEST_CASE("short attention is the same on any number of threads, bit for bit") {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(5);
  const auto draw = [&] { return noise.normal({301, 4, 3, 16}); };  // heads of five tasks
  const auto q = draw(), k = draw(), v = draw();
  CHECK(same_on_four_threads([&] { return nn::short_attention(q, k, v); }));
}

TEST_CASE("short attention in bfloat16 rounds its result only, and keeps what is not a number") {
  at::NoGradGuard no_grad;
  PhiloxNoise noise(3);
  const auto draw = [&] { return noise.normal({40, 2, 3, 64}).to(at::kBFloat16); };
  const auto q = draw(), k = draw();
  auto v = draw();
  const auto expected = by_formula(q, k, v);
  const auto attended = nn::short_attention(q, k, v);
  CHECK(attended.scalar_type() == at::kBFloat16);
  CHECK((attended.to(at::kDouble) - expected)
            .abs()
            .le(0x1p-8 * expected.abs() + 1e-5)
            .all()
            .item<bool>());
  v[1][1][0][5] = std::nan("");
  const auto spoilt = nn::short_attention(q, k, v).isnan();
  CHECK(spoilt.sum().item<int64_t>() == 3);  // channel 5 of the three tokens that see it
  CHECK(spoilt[1][1].select(1, 5).all().item<bool>());
}

TEST_CASE("short attention leaves gradients and long windows to others") {
  PhiloxNoise noise(4);
  const auto x = noise.normal({2, 2, 3, 4}), longer = noise.normal({2, 2, 9, 4});
  CHECK_FALSE(nn::is_short_attention(x, x, x));  // gradients are recorded here
  at::NoGradGuard no_grad;
  CHECK(nn::is_short_attention(x, x, x));
  CHECK_FALSE(nn::is_short_attention(x, longer, longer));
  CHECK_FALSE(nn::is_short_attention(x, x.to(at::kDouble), x));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { nn::short_attention(longer, longer, longer); },
      "9 queries"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { nn::short_attention(x, x, x.narrow(2, 0, 2)); },
      "values"));
}

}  // namespace foresight::short_attention_test
