// SPDX-License-Identifier: Apache-2.0
// Linear layers and AdaLN blocks in fixed point against float64, within bounds that follow from the
// format; the processor's kernel against the portable one, bit for bit.
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/adaln_predictor.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/packed_adaln.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/vit.hpp"
#include "threads.hpp"

namespace foresight::packed_test {

using nn::PackedFeedForward;
using nn::PackedLinear;

namespace {

constexpr nn::Packing kFixed16{nn::PackedFormat::fixed16};
constexpr nn::Packing kAvx2Fixed16{nn::PackedFormat::fixed16, nn::PackedKernel::avx2};
constexpr nn::Packing kPortable16{nn::PackedFormat::fixed16, nn::PackedKernel::portable};
constexpr nn::Packing kFloat32{nn::PackedFormat::float32};
constexpr nn::Packing kPortable32{nn::PackedFormat::float32, nn::PackedKernel::portable};

Tensor drawn(std::vector<int64_t> shape, std::uint64_t seed, double scale = 1) {
  return scale * PhiloxNoise(seed).normal(shape);
}

// What the format guarantees. A number of a block of norm n errs by half a step, at most n/32766/2;
// the sum of the products of two blocks by |w|_1 step_x/2 + |x|_1 step_w/2 + K step_x step_w/4.
// Beside it the rounding of sums in float32.
Tensor error_bound(const Tensor& x, const Tensor& weight) {
  constexpr int64_t kBlock = 256;
  constexpr double kLargest = 32766;
  auto bound = at::zeros({x.size(0), weight.size(0)}, at::kDouble);
  for (int64_t begin = 0; begin < x.size(1); begin += kBlock) {
    const auto length = std::min(kBlock, x.size(1) - begin);
    const auto a = x.narrow(1, begin, length).to(at::kDouble).abs();
    const auto w = weight.narrow(1, begin, length).to(at::kDouble).abs();
    const auto norm_of = [](const Tensor& t) { return t.square().sum(1).sqrt(); };
    const auto step_a = (norm_of(a) / kLargest).unsqueeze(1);
    const auto step_w = (norm_of(w) / kLargest).unsqueeze(0);
    bound += step_a / 2 * w.sum(1).unsqueeze(0) + a.sum(1).unsqueeze(1) * step_w / 2 +
             static_cast<double>(length) * step_a * step_w / 4 + 4e-7 * at::matmul(a, w.t());
  }
  return bound;
}

Tensor exact(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
}

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto y = PackedLinear(weight, bias, kFixed16).apply(x);
  const auto expected = exact(x, weight, bias);
  const auto allowed = error_bound(x, weight) + 2e-7 * (expected.abs() + bias.abs());
  CHECK((y - expected).abs().le(allowed).all().item<bool>());
  for (const auto& other : {kAvx2Fixed16, kPortable16})
    CHECK(at::equal(y, PackedLinear(weight, bias, other).apply(x)));
}

double relative_rms(const Tensor& actual, const Tensor& expected) {
  const auto error = actual.to(at::kDouble) - expected.to(at::kDouble);
  return (error.square().mean() / expected.to(at::kDouble).square().mean()).sqrt().item<double>();
}

}  // namespace

TEST_CASE("a linear layer in fixed point keeps the bound of its format for every size") {
  std::uint64_t seed = 1;
  for (const int64_t rows : {1, 5, 6, 7, 12, 13, 100, 200})
    for (const int64_t in : {1, 3, 8, 13, 192, 255, 256, 257, 600})
      for (const int64_t out : {1, 15, 16, 17, 32, 40}) {
        INFO(rows << " rows, " << in << " -> " << out);
        seed += 3;
        check_linear(drawn({rows, in}, seed), drawn({out, in}, seed + 1), drawn({out}, seed + 2));
      }
}

TEST_CASE("a typical output errs by 1.4e-4 of its size, a tenth of bfloat16's error") {
  const auto x = drawn({300, 2048}, 1), weight = drawn({192, 2048}, 2), bias = drawn({192}, 3);
  const auto expected = exact(x, weight, bias);
  const auto error = relative_rms(PackedLinear(weight, bias, kFixed16).apply(x), expected);
  CHECK(error < 1.5e-4);
  const auto half = [](const Tensor& t) { return t.to(at::kBFloat16); };
  CHECK(error < 0.1 * relative_rms(exact(half(x), half(weight), bias), expected));
}

TEST_CASE("sums of the largest blocks that there are do not overflow") {
  const auto sign = drawn({1, 256}, 4).sign();
  const auto one_large = at::cat({at::full({1, 1}, 1e6), drawn({1, 255}, 5)}, 1);
  const auto two_large = at::cat({at::full({1, 2}, 1e6), at::zeros({1, 254})}, 1);
  // Equality in the inequality of Cauchy and Schwarz: both factors are the same.
  for (const auto& row : {at::ones({1, 256}), -at::ones({1, 256}), sign, one_large, two_large,
                          drawn({1, 256}, 6), at::ones({1, 2})})
    for (const int64_t out : {17, 32}) {
      check_linear(row.repeat({13, 1}), row.repeat({out, 1}), at::zeros({out}));
      check_linear(row.repeat({13, 1}), -row.repeat({out, 1}), at::zeros({out}));
    }
}

TEST_CASE("rows with a NaN, an infinity or a huge number come out as NaN, others as ever") {
  const auto weight = drawn({20, 300}, 1), bias = drawn({20}, 2);
  const PackedLinear layer(weight, bias, kFixed16), portable(weight, bias, kPortable16);
  const auto clean = drawn({9, 300}, 3);
  const auto expected = layer.apply(clean);
  constexpr auto kInfinity = std::numeric_limits<float>::infinity();
  for (const float bad : {std::nanf(""), kInfinity, -kInfinity, 0x1p100F, -3e38F})
    for (const int64_t column : {0, 7, 255, 256, 299}) {
      INFO(bad << " in column " << column);
      auto x = clean.clone();
      x[4][column] = bad;
      for (const auto* kernel : {&layer, &portable}) {
        const auto y = kernel->apply(x);
        CHECK(y[4].isnan().all().item<bool>());
        CHECK(at::equal(y.slice(0, 0, 4), expected.slice(0, 0, 4)));
        CHECK(at::equal(y.slice(0, 5), expected.slice(0, 5)));
      }
    }
  auto broken = weight.clone();
  broken[3][5] = NAN;
  const auto y = PackedLinear(broken, bias, kFixed16).apply(clean);
  CHECK(y.select(1, 3).isnan().all().item<bool>());
  CHECK(at::equal(y.slice(1, 4), expected.slice(1, 4)));
}

TEST_CASE("zeros, tiny and large numbers") {
  const auto weight = drawn({20, 30}, 1), bias = drawn({20}, 2);
  const PackedLinear layer(weight, bias, kFixed16);
  CHECK(at::equal(layer.apply(at::zeros({3, 30})), bias.expand({3, 20})));
  CHECK(at::equal(layer.apply(at::full({3, 30}, 1e-40)), bias.expand({3, 20})));
  CHECK(at::equal(PackedLinear(at::zeros({20, 30}), bias, kFixed16).apply(drawn({3, 30}, 3)),
                  bias.expand({3, 20})));
  const PackedLinear plain(weight, Tensor(), kFixed16);
  const auto x = drawn({4, 30}, 5);
  for (const double scale : {0x1p-90, 0x1p-20, 0x1p20, 0x1p96})  // a scale by a power of 2 is exact
    CHECK(at::equal(plain.apply(x * scale), plain.apply(x) * scale));
}

TEST_CASE("no rows, rows of any shape, and strided rows") {
  const auto weight = drawn({5, 12}, 1), bias = drawn({5}, 2);
  const PackedLinear layer(weight, bias, kFixed16);
  CHECK(layer.apply(at::zeros({0, 12})).sizes() == at::IntArrayRef({0, 5}));
  CHECK(layer.apply(drawn({12}, 3)).sizes() == at::IntArrayRef({5}));
  const auto x = drawn({2, 12, 3}, 4).transpose(1, 2);
  CHECK(at::equal(layer.apply(x), layer.apply(x.contiguous())));
  CHECK(layer.in() == 12);
  CHECK(layer.out() == 5);
}

TEST_CASE("packed weights take two bytes each, and scales") {
  const PackedLinear layer(drawn({192, 2048}, 1), drawn({192}, 2), kFixed16);
  CHECK(layer.bytes() == 192 * 2048 * 2 + 192 * 8 * 4 + 192 * 4);
}

TEST_CASE("a feed-forward part in fixed point is the float64 one within its format") {
  for (const int64_t hidden : {1, 16, 40, 256, 300, 600}) {
    INFO("hidden width " << hidden);
    const auto w1 = drawn({hidden, 48}, 1, 0.3), b1 = drawn({hidden}, 2);
    const auto w2 = drawn({20, hidden}, 3), b2 = drawn({20}, 4), x = drawn({33, 48}, 5);
    const auto y = PackedFeedForward(w1, b1, w2, b2, kFixed16).apply(x);
    const auto middle = at::gelu(exact(x, w1, b1));
    // GELU's slope is at most 1.13; the second product's own error is that of its exact input.
    const auto before = 1.13 * (error_bound(x, w1) + 1e-6 * (1 + exact(x, w1, b1).abs()));
    const auto allowed = at::matmul(before, w2.t().to(at::kDouble).abs()) * 1.01 +
                         1.01 * error_bound(middle, w2) + 1e-6 * (1 + b2.abs());
    CHECK((y - exact(middle, w2, b2)).abs().le(allowed).all().item<bool>());
    for (const auto& other : {kAvx2Fixed16, kPortable16})
      CHECK(at::equal(y, PackedFeedForward(w1, b1, w2, b2, other).apply(x)));
  }
}

TEST_CASE("GELU of every size, small and large, by the error function") {
  // One channel is an integer of 15 bits; what is left of the error is that of GELU.
  const auto one = at::ones({1, 1}), none = at::zeros({1});
  const auto x = at::linspace(-12, 12, 4001).unsqueeze(1);
  const auto y = PackedFeedForward(one, none, one, none, kFixed16).apply(x);
  const auto expected = at::gelu(x.to(at::kDouble));
  CHECK((y - expected).abs().le(2e-6 * (1 + x.abs())).all().item<bool>());
}

TEST_CASE("a result does not depend on the number of threads") {
  const auto weight = drawn({70, 200}, 1), bias = drawn({70}, 2), x = drawn({500, 200}, 3);
  const PackedLinear layer(weight, bias, kFixed16);
  const Threads one(1);
  const auto expected = layer.apply(x);
  const Threads three(3);
  CHECK(at::equal(layer.apply(x), expected));
}

TEST_CASE("fixed point refuses gradients, other types, widths and devices") {
  const auto weight = drawn({5, 12}, 1), bias = drawn({5}, 2);
  const PackedLinear layer(weight, bias, kFixed16);
  const auto x = drawn({3, 12}, 3).requires_grad_();
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { layer.apply(x); }, "no gradients"));
  {
    at::NoGradGuard no_grad;
    CHECK_NOTHROW(layer.apply(x));
  }
  const auto fails = [&](const Tensor& input, const char* expected) {
    return fails_with(
        ErrorCategory::invalid_argument, [&] { layer.apply(input); }, expected);
  };
  CHECK(fails(drawn({3, 12}, 3).to(at::kDouble), "expected float32"));
  CHECK(fails(drawn({3, 11}, 3), "[...,12]"));
  CHECK_THROWS_AS(layer.apply(Tensor()), Error);
  CHECK_THROWS_AS(layer.apply(at::zeros({3, 12}, at::kMeta)), Error);
  CHECK_THROWS_AS(PackedLinear(weight.to(at::kLong), bias, kFixed16), Error);
  CHECK_THROWS_AS(PackedLinear(weight, drawn({4}, 1), kFixed16), Error);
  CHECK_THROWS_AS(PackedLinear(at::zeros({0, 4}), Tensor(), kFixed16), Error);
}

namespace {

struct Block {
  explicit Block(const nn::AdaLnBlockSizes& sizes)
      : wide(std::make_shared<nn::AdaLnBlock>(sizes)),
        fast(std::make_shared<nn::AdaLnBlock>(sizes)),
        avx2(std::make_shared<nn::AdaLnBlock>(sizes)),
        portable(std::make_shared<nn::AdaLnBlock>(sizes)) {
    at::NoGradGuard no_grad;
    for (const auto& block : {wide, fast, avx2, portable}) {
      PhiloxNoise noise(1);
      for (auto& parameter : block->named_parameters()) {
        const auto fan_in = parameter.value().dim() > 1 ? parameter.value().size(1) : 4;
        nn::init_normal(parameter.value(), 1 / std::sqrt(double(fan_in)), noise);
      }
    }
    fast->use_packed(kFixed16);
    avx2->use_packed(kAvx2Fixed16);
    portable->use_packed(kPortable16);
    wide->to(at::kDouble);
  }
  std::shared_ptr<nn::AdaLnBlock> wide, fast, avx2, portable;
};

nn::KeyValues in_double(const nn::KeyValues& kept) {
  return {kept.keys.to(at::kDouble), kept.values.to(at::kDouble)};
}

// Eight quantisations in sequence, of 1.4e-4 a pair, in the root mean square.
constexpr double kBlockError = 8e-4;

void check_block(const Block& block, const Tensor& x, const Tensor& modulation,
                 const nn::KeyValues* past) {
  nn::KeyValues exact_past;
  if (past) exact_past = in_double(*past);
  for (const auto outputs : {nn::Outputs::all, nn::Outputs::last, nn::Outputs::none}) {
    INFO(x.size(1) << " tokens, outputs " << static_cast<int>(outputs));
    nn::KeyValues expected_present, present;
    const auto expected = block.wide->forward(x.to(at::kDouble), modulation.to(at::kDouble),
                                              past ? &exact_past : nullptr, &expected_present,
                                              outputs, nn::Mode::infer);
    const auto y = block.fast->forward(x, modulation, past, &present, outputs, nn::Mode::infer);
    CHECK(present.keys.sizes() == expected_present.keys.sizes());
    CHECK(relative_rms(present.keys, expected_present.keys) < kBlockError);
    CHECK(relative_rms(present.values, expected_present.values) < kBlockError);
    CHECK(y.defined() == expected.defined());
    for (const auto& other : {block.avx2, block.portable}) {
      nn::KeyValues kept;
      const auto same = other->forward(x, modulation, past, &kept, outputs, nn::Mode::infer);
      CHECK(at::equal(present.keys, kept.keys));
      CHECK(at::equal(present.values, kept.values));
      CHECK((y.defined() ? at::equal(y, same) : !same.defined()));
    }
    if (!y.defined()) continue;
    REQUIRE(y.sizes() == expected.sizes());
    CHECK(relative_rms(y, expected) < kBlockError);
    const auto without =
        block.fast->forward(x, modulation, past, nullptr, outputs, nn::Mode::infer);
    CHECK(at::equal(y, without));
  }
}

}  // namespace

TEST_CASE("an AdaLN block in fixed point is the float64 one within its format") {
  at::NoGradGuard no_grad;
  for (const nn::AdaLnBlockSizes& sizes :
       {nn::AdaLnBlockSizes{24, 3, 8, 40, 0.0}, nn::AdaLnBlockSizes{13, 2, 5, 21, 0.0},
        nn::AdaLnBlockSizes{192, 16, 64, 300, 0.0}}) {
    INFO("width " << sizes.width);
    const Block block(sizes);
    constexpr int64_t kRows = 40;
    for (const int64_t tokens : {1, 2, 3}) {
      const auto x = drawn({kRows, tokens, sizes.width}, 3);
      const auto modulation = drawn({kRows, tokens, 6, sizes.width}, 4) + 0.5;
      check_block(block, x, modulation, nullptr);
      for (const int64_t problems : {int64_t{2}, kRows}) {
        INFO(problems << " rows of earlier tokens");
        const auto kept = [&](std::uint64_t seed) {
          return drawn({problems, 2, sizes.heads, sizes.head_width}, seed).transpose(1, 2);
        };
        const nn::KeyValues past{kept(5), kept(6)};
        check_block(block, x, modulation, &past);
      }
    }
  }
}

TEST_CASE("a block in fixed point takes strided modulations and any number of threads") {
  at::NoGradGuard no_grad;
  const Block block({24, 3, 8, 40, 0.0});
  const auto x = drawn({200, 2, 24}, 1);
  const auto all = drawn({200, 5, 4, 6, 24}, 2);
  const auto modulation = all.narrow(1, 2, 2).select(2, 1);
  const auto run = [&](const Tensor& m) {
    return block.fast->forward(x, m, nullptr, nullptr, nn::Outputs::all, nn::Mode::infer);
  };
  const Threads one(1);
  const auto expected = run(modulation);
  CHECK(at::equal(run(modulation.contiguous()), expected));
  CHECK(at::equal(run(modulation.transpose(2, 3).contiguous().transpose(2, 3)), expected));
  const Threads three(3);
  CHECK(at::equal(run(modulation), expected));
}

TEST_CASE("a block in fixed point refuses training, grids of tokens and weights that changed") {
  at::NoGradGuard no_grad;
  const Block block({24, 3, 8, 40, 0.0});
  const auto x = drawn({4, 2, 24}, 1), modulation = drawn({4, 2, 6, 24}, 2);
  const auto fails = [&](ErrorCategory category, const Tensor& tokens, nn::Mode mode,
                         const char* expected) {
    return fails_with(
        category,
        [&] { block.fast->forward(tokens, modulation, nullptr, nullptr, nn::Outputs::all, mode); },
        expected);
  };
  CHECK(fails(ErrorCategory::unsupported, x, nn::Mode::train, "only infers"));
  CHECK(fails(ErrorCategory::unsupported, x.unsqueeze(2), nn::Mode::infer, "one token a frame"));
  CHECK(fails(ErrorCategory::invalid_argument, x.slice(1, 0, 0), nn::Mode::infer, "no token"));
  block.fast->parameters().front().add_(1);
  CHECK(fails(ErrorCategory::invalid_argument, x, nn::Mode::infer, "written to, converted"));
  block.portable->to(at::kDouble);
  CHECK_THROWS_AS(
      block.portable->forward(x, modulation, nullptr, nullptr, nn::Outputs::all, nn::Mode::infer),
      Error);
}

TEST_CASE("a ViT and a head in fixed point are the float64 ones within their format") {
  at::NoGradGuard no_grad;
  const nn::VitOptions vit_options{
      .patch = 8, .width = 24, .depth = 2, .heads = 2, .mlp_width = 40};
  const auto images = drawn({3, 3, 32, 32}, 1);
  nn::Vit wide(vit_options, 32), fixed(vit_options, 32);
  for (auto* vit : {&wide, &fixed}) {
    PhiloxNoise noise(2);
    for (auto& parameter : vit->named_parameters()) nn::init_normal(parameter.value(), 0.3, noise);
  }
  fixed.use_packed(kFixed16);
  wide.to(at::kDouble);
  CHECK(relative_rms(fixed.encode(images, nn::Mode::infer),
                     wide.encode(images.to(at::kDouble), nn::Mode::infer)) < 2 * kBlockError);
  CHECK(relative_rms(fixed.tokens(images), wide.tokens(images.to(at::kDouble))) < 2 * kBlockError);

  for (const auto norm : {nn::NormKind::batch, nn::NormKind::none, nn::NormKind::layer}) {
    nn::Projection head(24, {.hidden = 50, .norm = norm}, 7), exact_head(24, {50, norm}, 7);
    for (auto* one : {&head, &exact_head}) {
      PhiloxNoise noise(3);
      one->initialise(noise);
    }
    head.use_packed(kFixed16);
    exact_head.to(at::kDouble);
    const auto x = drawn({30, 24}, 4);
    const auto expected = exact_head.forward(x.to(at::kDouble), nn::Mode::infer);
    CHECK(relative_rms(head.forward(x, nn::Mode::infer), expected) < kBlockError);
    CHECK(at::equal(head.fold().forward(x), head.forward(x, nn::Mode::infer)));
  }
}

}  // namespace foresight::packed_test
