// SPDX-License-Identifier: Apache-2.0
// Packed float32 layers against float64, the processor's kernel against the portable one, bit for
// bit; and that they stand in only where nobody can tell.
#include <ATen/Parallel.h>
#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/adaln_block.hpp"
#include "foresight/nn/autocast.hpp"
#include "foresight/nn/init.hpp"
#include "foresight/nn/projection.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::packed_float_test {

namespace {

constexpr nn::Packing kFastest{};
// What has to give the same bits.
constexpr nn::Packing kAvx2{nn::PackedFormat::float32, nn::PackedKernel::avx2};
constexpr nn::Packing kPortable{nn::PackedFormat::float32, nn::PackedKernel::portable};

Tensor normal(std::vector<int64_t> shape, std::uint64_t seed) {
  return PhiloxNoise(seed).normal(shape);
}

Tensor in_float64(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return at::linear(x.to(at::kDouble), weight.to(at::kDouble), bias.to(at::kDouble));
}

// K fused products in a row, then a sum over blocks: |error| <= (K + 3) eps/2 |x| |w|.
Tensor rounding(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto sizes =
      at::linear(x.to(at::kDouble).abs(), weight.to(at::kDouble).abs(), bias.to(at::kDouble).abs());
  return static_cast<double>(x.size(-1) + 3) * 0x1p-24 * sizes;
}

template <class Module>
std::shared_ptr<Module> drawn(std::shared_ptr<Module> module) {
  const at::NoGradGuard no_grad;
  PhiloxNoise noise(1);
  for (auto& parameter : module->named_parameters()) {
    const auto fan_in = parameter.value().dim() > 1 ? parameter.value().size(1) : 4;
    nn::init_normal(parameter.value(), 1 / std::sqrt(static_cast<double>(fan_in)), noise);
  }
  return module;
}

std::shared_ptr<nn::AdaLnBlock> block_of(const nn::AdaLnBlockSizes& sizes) {
  return drawn(std::make_shared<nn::AdaLnBlock>(sizes));
}

Tensor all_outputs(const nn::AdaLnBlock& block, const Tensor& x, const Tensor& modulation,
                   nn::Mode mode = nn::Mode::infer) {
  return block.forward(x, modulation, nullptr, nullptr, nn::Outputs::all, mode);
}

double relative_rms(const Tensor& actual, const Tensor& expected) {
  const auto error = actual.to(at::kDouble) - expected.to(at::kDouble);
  return (error.square().mean() / expected.to(at::kDouble).square().mean()).sqrt().item<double>();
}

}  // namespace

TEST_CASE("a packed float32 layer is the float64 one up to rounding, for every size") {
  std::uint64_t seed = 1;
  for (const int64_t rows : {1, 5, 6, 7, 12, 13, 100, 200})
    for (const int64_t in : {1, 3, 8, 13, 192, 255, 256, 257, 600})
      for (const int64_t out : {1, 15, 16, 17, 32, 40}) {
        INFO(rows << " rows, " << in << " -> " << out);
        seed += 3;
        const auto x = normal({rows, in}, seed), weight = normal({out, in}, seed + 1);
        const auto bias = normal({out}, seed + 2);
        const auto y = nn::PackedLinear(weight, bias, kFastest).apply(x);
        const auto error = (y - in_float64(x, weight, bias)).abs();
        CHECK(error.le(rounding(x, weight, bias)).all().item<bool>());
        for (const auto& other : {kAvx2, kPortable})
          CHECK(at::equal(y, nn::PackedLinear(weight, bias, other).apply(x)));
      }
  CHECK(nn::PackedLinear(normal({192, 2048}, 1), Tensor(), kFastest).bytes() >= 192 * 2048 * 4);
}

TEST_CASE("a packed float32 feed-forward part is the float64 one up to rounding") {
  for (const int64_t hidden : {1, 16, 40, 256, 300, 600}) {
    INFO("hidden width " << hidden);
    const auto w1 = 0.3 * normal({hidden, 48}, 1), b1 = normal({hidden}, 2);
    const auto w2 = normal({20, hidden}, 3), b2 = normal({20}, 4), x = normal({33, 48}, 5);
    const auto y = nn::PackedFeedForward(w1, b1, w2, b2, kFastest).apply(x);
    const auto before = in_float64(x, w1, b1), middle = at::gelu(before);
    // GELU's slope is at most 1.13; its own error is 5e-7.
    const auto passed_on = 1.13 * rounding(x, w1, b1) + 5e-7 * (1 + before.abs());
    const auto allowed = at::matmul(passed_on, w2.t().to(at::kDouble).abs()) +
                         1.01 * rounding(middle, w2, b2) + 1e-6;
    CHECK((y - in_float64(middle, w2, b2)).abs().le(allowed).all().item<bool>());
    for (const auto& other : {kAvx2, kPortable})
      CHECK(at::equal(y, nn::PackedFeedForward(w1, b1, w2, b2, other).apply(x)));
  }
}

TEST_CASE("a packed float32 layer hands NaN and infinity on, in their rows alone") {
  const nn::PackedLinear layer(normal({20, 300}, 1).abs() + 1, normal({20}, 2), kFastest);
  const auto clean = normal({9, 300}, 3);
  const auto expected = layer.apply(clean);
  auto x = clean.clone();
  x[2][256] = NAN;
  x[4][7] = std::numeric_limits<float>::infinity();
  const auto y = layer.apply(x);
  CHECK(y[2].isnan().all().item<bool>());
  CHECK(y[4].isposinf().all().item<bool>());
  for (const int64_t row : {0, 1, 3, 5, 8}) CHECK(at::equal(y[row], expected[row]));
}

TEST_CASE("a packed float32 AdaLN block is the float64 one up to rounding") {
  const at::NoGradGuard no_grad;
  for (const nn::AdaLnBlockSizes& sizes :
       {nn::AdaLnBlockSizes{24, 3, 8, 40, 0.0}, nn::AdaLnBlockSizes{13, 2, 5, 21, 0.0},
        nn::AdaLnBlockSizes{192, 16, 64, 300, 0.0}}) {
    const auto wide = block_of(sizes), fast = block_of(sizes);
    const auto avx2 = block_of(sizes), portable = block_of(sizes);
    wide->to(at::kDouble);
    fast->use_packed(kFastest);
    avx2->use_packed(kAvx2);
    portable->use_packed(kPortable);
    constexpr int64_t kRows = 40;
    for (const int64_t tokens : {1, 2, 3})
      for (const int64_t problems : {int64_t{0}, int64_t{2}, kRows})
        for (const auto outputs : {nn::Outputs::all, nn::Outputs::last}) {
          INFO("width " << sizes.width << ", " << tokens << " tokens, " << problems
                        << " rows of earlier ones, outputs " << static_cast<int>(outputs));
          const auto x = normal({kRows, tokens, sizes.width}, 3);
          const auto modulation = normal({kRows, tokens, 6, sizes.width}, 4) + 0.5;
          const auto kept = [&](std::uint64_t seed) {
            return normal({problems, 2, sizes.heads, sizes.head_width}, seed).transpose(1, 2);
          };
          nn::KeyValues past, exact_past;
          if (problems > 0) {
            past = {kept(5), kept(6)};
            exact_past = {past.keys.to(at::kDouble), past.values.to(at::kDouble)};
          }
          const auto* before = problems > 0 ? &past : nullptr;
          nn::KeyValues present, expected_present;
          const auto expected = wide->forward(x.to(at::kDouble), modulation.to(at::kDouble),
                                              problems > 0 ? &exact_past : nullptr,
                                              &expected_present, outputs, nn::Mode::infer);
          const auto y = fast->forward(x, modulation, before, &present, outputs, nn::Mode::infer);
          REQUIRE(y.sizes() == expected.sizes());
          CHECK(relative_rms(y, expected) < 2e-6);
          CHECK(relative_rms(present.keys, expected_present.keys) < 1e-6);
          CHECK(relative_rms(present.values, expected_present.values) < 1e-6);
          for (const auto& other : {avx2, portable})
            CHECK(at::equal(
                y, other->forward(x, modulation, before, nullptr, outputs, nn::Mode::infer)));
          // A row does not depend on its neighbours.
          if (problems != 2) {
            nn::KeyValues own;
            if (before) own = {past.keys.narrow(0, 7, 9), past.values.narrow(0, 7, 9)};
            const auto some =
                fast->forward(x.narrow(0, 7, 9), modulation.narrow(0, 7, 9),
                              before ? &own : nullptr, nullptr, outputs, nn::Mode::infer);
            CHECK(at::equal(some, y.narrow(0, 7, 9)));
          }
        }
  }
}

TEST_CASE("packed float32 weights compute for inference alone, and while they are the weights") {
  const nn::AdaLnBlockSizes sizes{24, 3, 8, 40, 0.0};
  const auto plain = block_of(sizes), packed = block_of(sizes);
  packed->use_packed(kFastest);
  const auto x = normal({4, 2, 24}, 1), modulation = normal({4, 2, 6, 24}, 2);
  const auto same = [&](nn::Mode mode) {
    return at::equal(all_outputs(*packed, x, modulation, mode),
                     all_outputs(*plain, x, modulation, mode));
  };
  // With gradients, which reach weights and input.
  CHECK(same(nn::Mode::infer));
  const auto input = x.clone().requires_grad_();
  all_outputs(*packed, input, modulation).sum().backward();
  CHECK(input.grad().defined());
  for (const auto& parameter : packed->attention().parameters()) CHECK(parameter.grad().defined());

  const at::NoGradGuard no_grad;
  REQUIRE_FALSE(same(nn::Mode::infer));  // another order of sums
  CHECK(at::allclose(all_outputs(*packed, x, modulation), all_outputs(*plain, x, modulation), 1e-5,
                     1e-5));
  CHECK(same(nn::Mode::train));
  const auto grid = x.unsqueeze(2);
  CHECK(at::equal(all_outputs(*packed, grid, modulation), all_outputs(*plain, grid, modulation)));
  {
    const nn::Autocast autocast(at::kCPU, true);
    CHECK(same(nn::Mode::infer));
  }
  for (const auto& block : {packed, plain}) block->parameters().back().mul_(1.5);  // modulation
  REQUIRE_FALSE(same(nn::Mode::infer));
  for (const auto& block : {packed, plain}) block->feed_forward().parameters().front().mul_(1.5);
  CHECK(same(nn::Mode::infer));
  packed->use_packed(kFastest);
  CHECK_FALSE(same(nn::Mode::infer));
  CHECK(at::allclose(all_outputs(*packed, x, modulation), all_outputs(*plain, x, modulation), 1e-5,
                     1e-5));
  for (const auto& block : {packed, plain}) block->to(at::kDouble);
  CHECK(at::equal(all_outputs(*packed, x.to(at::kDouble), modulation.to(at::kDouble)),
                  all_outputs(*plain, x.to(at::kDouble), modulation.to(at::kDouble))));
}

TEST_CASE("what cannot be packed in float32 stays as it is") {
  const at::NoGradGuard no_grad;
  const nn::AdaLnBlockSizes no_output_projection{24, 1, 24, 40, 0.0};
  const auto plain = block_of(no_output_projection), packed = block_of(no_output_projection);
  packed->use_packed(kFastest);
  const auto x = normal({4, 2, 24}, 1), modulation = normal({4, 2, 6, 24}, 2);
  CHECK(at::equal(all_outputs(*packed, x, modulation), all_outputs(*plain, x, modulation)));
  const c10::InferenceMode inference;  // weights made here do not tell when they are written to
  const auto unwatched = block_of({24, 3, 8, 40, 0.0});
  CHECK_FALSE(nn::can_pack_float32(unwatched->parameters()));
  unwatched->use_packed(kFastest);
  const auto before = all_outputs(*unwatched, x, modulation);
  unwatched->feed_forward().parameters().front().mul_(1.5);
  CHECK_FALSE(at::allclose(all_outputs(*unwatched, x, modulation), before));
}

TEST_CASE("a packed float32 ViT and head are the float64 ones up to rounding") {
  const at::NoGradGuard no_grad;
  const nn::VitOptions options{.patch = 8, .width = 24, .depth = 2, .heads = 2, .mlp_width = 40};
  const auto images = normal({3, 3, 32, 32}, 1);
  const auto wide = drawn(std::make_shared<nn::Vit>(options, 32));
  const auto packed = drawn(std::make_shared<nn::Vit>(options, 32));
  packed->use_packed(kFastest);
  wide->to(at::kDouble);
  CHECK(relative_rms(packed->tokens(images), wide->tokens(images.to(at::kDouble))) < 2e-6);

  for (const auto norm : {nn::NormKind::batch, nn::NormKind::none, nn::NormKind::layer}) {
    nn::Projection head(24, {50, norm}, 7), exact(24, {50, norm}, 7);
    for (auto* one : {&head, &exact}) {
      PhiloxNoise noise(3);
      one->initialise(noise);
    }
    head.use_packed(kFastest);
    exact.to(at::kDouble);
    const auto x = normal({30, 24}, 4);
    CHECK(relative_rms(head.forward(x, nn::Mode::infer),
                       exact.forward(x.to(at::kDouble), nn::Mode::infer)) < 1e-6);
    CHECK(at::equal(head.fold().forward(x), head.forward(x, nn::Mode::infer)));
    head.forward(x, nn::Mode::train);  // the running statistics move
    exact.forward(x.to(at::kDouble), nn::Mode::train);
    CHECK(relative_rms(head.forward(x, nn::Mode::infer),
                       exact.forward(x.to(at::kDouble), nn::Mode::infer)) < 1e-6);
  }
}

}  // namespace foresight::packed_float_test
