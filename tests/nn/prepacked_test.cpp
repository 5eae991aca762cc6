// SPDX-License-Identifier: Apache-2.0
// Prepacked layers in bfloat16 against float64, and against the plain layers that they stand in
// for. On processors that do not multiply bfloat16 they are refused, which is checked there.
#include "foresight/nn/prepacked_linear.hpp"

#include <ATen/autocast_mode.h>
#include <ATen/core/grad_mode.h>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/nn/adaln_predictor.hpp"
#include "foresight/nn/init.hpp"

namespace foresight::prepacked_test {

using nn::Mode;
using nn::PrepackedLinear;

namespace {

// A bfloat16 keeps eight bits: a rounded number errs by up to 2^-8 of it.
constexpr double kRounding = 0x1p-8;

Tensor drawn(std::vector<int64_t> shape, std::uint64_t seed, double scale = 1) {
  return (scale * PhiloxNoise(seed).normal(shape)).to(at::kBFloat16);
}

bool unless_available(const char* what) {
  if (PrepackedLinear::available()) return false;
  WARN("SKIPPED: this processor does not multiply bfloat16: " << what);
  return true;
}

nn::AdaLnPredictor predictor(std::uint64_t seed) {
  nn::AdaLnPredictorOptions options;
  options.depth = 2, options.width = 48, options.heads = 2, options.head_width = 16;
  options.mlp_width = 64;
  nn::AdaLnPredictor net(options, {.frames = 3, .latent = 48, .condition = 48, .output = 48});
  PhiloxNoise noise(seed);
  at::NoGradGuard no_grad;
  for (auto& parameter : net.parameters()) nn::init_normal(parameter, 0.15, noise);
  net.eval();
  return net;
}

Tensor imagined(const nn::AdaLnPredictor& net, at::ScalarType type) {
  PhiloxNoise noise(7);
  const auto context = noise.normal({2, 2, 48}).to(type), past = noise.normal({2, 1, 48}).to(type);
  const auto future = noise.normal({2, 70, 5, 48}).to(type);
  return net.rollout(context, past, future, [](const Tensor& x) { return x; });
}

double distance(const Tensor& a, const Tensor& b) {
  const auto difference = a.to(at::kDouble) - b.to(at::kDouble);
  return (difference.square().mean() / b.to(at::kDouble).square().mean()).sqrt().item<double>();
}

}  // namespace

TEST_CASE("a prepacked layer is the exact product, rounded once, for every size") {
  if (unless_available("products")) return;
  at::NoGradGuard no_grad;
  std::uint64_t seed = 1;
  for (const int64_t rows : {1, 31, 32, 300})
    for (const int64_t in : {1, 8, 33, 192})
      for (const int64_t out : {1, 17, 64, 200}) {
        INFO(rows << " rows, " << in << " -> " << out);
        const auto x = drawn({rows, in}, seed++), weight = drawn({out, in}, seed++);
        const auto bias = drawn({out}, seed++);
        const auto wide = [](const Tensor& t) { return t.to(at::kDouble); };
        for (const bool biased : {true, false}) {
          const PrepackedLinear layer(weight, biased ? bias : Tensor());
          const auto expected =
              at::linear(wide(x), wide(weight), biased ? wide(bias) : at::Tensor());
          // Sums in float32 beside it, of products up to 20 or so.
          const auto allowed = [](const Tensor& y) { return kRounding * y.abs() + 1e-4; };
          const auto y = layer.apply(x);
          REQUIRE(y.scalar_type() == at::kBFloat16);
          CHECK((wide(y) - expected).abs().le(allowed(expected)).all().item<bool>());
          const auto activated = at::gelu(expected);
          CHECK((wide(layer.apply(x, nn::Activation::gelu)) - activated)
                    .abs()
                    .le(allowed(activated))
                    .all()
                    .item<bool>());
        }
      }
}

TEST_CASE("a prepacked layer keeps leading axes and takes strided rows") {
  if (unless_available("shapes")) return;
  at::NoGradGuard no_grad;
  const auto weight = drawn({24, 16}, 1), bias = drawn({24}, 2);
  const PrepackedLinear layer(weight, bias);
  const auto x = drawn({5, 4, 32}, 3).slice(2, 8, 24);
  const auto y = layer.apply(x);
  CHECK(y.sizes() == at::IntArrayRef({5, 4, 24}));
  CHECK(at::equal(y, layer.apply(x.contiguous().view({20, 16})).view({5, 4, 24})));
  CHECK(layer.apply(drawn({0, 16}, 4)).sizes() == at::IntArrayRef({0, 24}));
}

TEST_CASE("a predictor prepacked in bfloat16 imagines as far from float64 as the plain one") {
  if (unless_available("rollouts")) return;
  at::NoGradGuard no_grad;
  auto net = predictor(3);
  net.to(at::kBFloat16);
  const auto plain = imagined(net, at::kBFloat16);
  net.use_prepacked();
  const auto prepacked = imagined(net, at::kBFloat16);
  CHECK_FALSE(at::equal(prepacked, plain));  // GELU before the rounding
  net.to(at::kDouble);                       // the weights as bfloat16 has them
  const auto exact = imagined(net, at::kDouble);
  const double error = distance(plain, exact);
  CHECK(error > 1e-3);
  CHECK(distance(prepacked, exact) < 1.1 * error);
}

TEST_CASE("a prepacked predictor computes plainly with other weights, types and gradients") {
  if (unless_available("stand-ins")) return;
  auto net = predictor(3), plain = predictor(3);
  net.to(at::kBFloat16);
  plain.to(at::kBFloat16);
  net.use_prepacked();
  CHECK(at::equal(imagined(net, at::kBFloat16), imagined(plain, at::kBFloat16)));  // gradients
  at::NoGradGuard no_grad;
  CHECK_FALSE(at::equal(imagined(net, at::kBFloat16), imagined(plain, at::kBFloat16)));
  for (const auto* each : {&net, &plain})
    for (auto& parameter : each->parameters()) parameter.mul_(1.25);
  CHECK(at::equal(imagined(net, at::kBFloat16), imagined(plain, at::kBFloat16)));
  net.use_prepacked();
  CHECK_FALSE(at::equal(imagined(net, at::kBFloat16), imagined(plain, at::kBFloat16)));
  net.to(at::kFloat);
  plain.to(at::kFloat);
  CHECK(at::equal(imagined(net, at::kFloat), imagined(plain, at::kFloat)));
  net.use_prepacked();  // float32: nothing
  CHECK(at::equal(imagined(net, at::kFloat), imagined(plain, at::kFloat)));
}

TEST_CASE("what cannot be prepacked is refused") {
  const auto weight = drawn({3, 2}, 1);
  if (!PrepackedLinear::available()) {
    CHECK(fails_with(ErrorCategory::unsupported, [&] { PrepackedLinear(weight, {}); }, "bfloat16"));
    return;
  }
  const auto refused = [&](const Tensor& w, const Tensor& b, const char* what) {
    CHECK(fails_with(ErrorCategory::invalid_argument, [&] { PrepackedLinear(w, b); }, what));
  };
  refused(weight.to(at::kFloat), {}, "bfloat16 weights on the CPU");
  refused(weight, drawn({2}, 2), "bias");
  refused(weight.flatten(), {}, "weight");
  const PrepackedLinear layer(weight, {});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { layer.apply(drawn({4, 3}, 3)); }, "[...,2]"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { layer.apply(drawn({4, 2}, 3).to(at::kFloat)); },
      "[...,2]"));
  CHECK(fails_with(
      ErrorCategory::unsupported, [&] { layer.apply(drawn({4, 2}, 3), nn::Activation::relu); },
      "gelu"));
}

}  // namespace foresight::prepacked_test
