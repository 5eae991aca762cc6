// SPDX-License-Identifier: Apache-2.0
// Losses of latents in half width, as bfloat16 training hands them over: the loss itself is not
// rounded to eight bits, and what was drawn for it neither.
#include <functional>

#include "catch.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/power.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/straightening.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/vicreg.hpp"
#include "foresight/nn/autocast.hpp"

namespace foresight::losses::half_width_test {
namespace {

// Numbers that bfloat16 holds exactly, so that float64 is an exact reference.
Tensor exact_normal(at::IntArrayRef shape, std::uint64_t seed) {
  return PhiloxNoise(seed).normal(shape, at::kFloat).to(at::kBFloat16);
}

// The statistic over projections h [T,B,M], written out in float64 as the header defines it.
double statistic_of(const Tensor& h, const SigRegOptions& options) {
  const auto x = h.to(at::kDouble);
  const auto quadrature = sigreg_quadrature(options, at::kDouble);
  auto sum = at::zeros({x.size(0), x.size(2)}, at::kDouble);
  for (int64_t j = 0; j < options.knots; ++j) {
    const auto phase = x * quadrature.knots[j];
    sum += quadrature.weights[j] *
           ((phase.cos().mean(1) - quadrature.gaussian[j]).square() + phase.sin().mean(1).square());
  }
  return static_cast<double>(x.size(1)) * sum.mean().item<double>();
}

}  // namespace

TEST_CASE("losses of half-width latents are float32 numbers, accurate as such") {
  using Loss = std::function<Tensor(const Tensor& a, const Tensor& b)>;  // [B,T,D] each
  const auto a = exact_normal({6, 5, 7}, 1), b = exact_normal({6, 5, 7}, 2);
  for (const auto& loss : std::initializer_list<Loss>{
           [](auto&x, auto&y) { return prediction(x, y, Distance::l2); },
           [](auto&x, auto&y) { return prediction(x, y, Distance::l1); },
           [](auto&x, auto&y) { return prediction(x, y, Distance::smooth_l1); },
           [](auto&x, auto&y) {
             return multi_step_prediction({x, y}, {y, y}, Distance::l2, 0.7);
           },
           [](auto&x, auto&y) { return power_distance(x, y, 1.0); },
           [](auto&x, auto&y) { return power_distance(x, y, 1.5); },
           [](auto&x, auto&y) { return inverse_dynamics(x, y); },
           [](auto&x, auto&) { return temporal_similarity(x); },
           [](auto&x, auto&) { return straightening(x); },
           [](auto&x, auto&) { return vicreg_std(x, kVarianceEpsilon, 2.0); },
           [](auto&x, auto&) { return vicreg_std_t(x * 0.5); }}) {
    const auto value = loss(a, b);
    CHECK(value.scalar_type() == at::kFloat);
    CHECK(value.item<double>() ==
          Approx(loss(a.to(at::kDouble), b.to(at::kDouble)).item<double>()).epsilon(1e-5));
  }
}

TEST_CASE("covariances of half-width latents are squared and added up in float32") {
  const auto z = exact_normal({64, 3, 16}, 3);
  // The product is rounded once (2^-9); sums of its squares must not be rounded again.
  const auto c = (z.to(at::kFloat) - z.to(at::kFloat).mean(0, true)).transpose(0, 1);
  const auto product = at::matmul(c.transpose(1, 2).to(at::kBFloat16), c.to(at::kBFloat16));
  const auto covariance = product.to(at::kDouble) / 63.0;
  const auto off_diagonal = covariance * (1 - at::eye(16, at::kDouble));
  const double expected = off_diagonal.square().sum().item<double>() / (3 * (16.0 * 16 - 16));
  const nn::Autocast autocast(at::kCPU, true);
  for (const auto& given : {z, z.to(at::kFloat)}) {
    const auto value = vicreg_cov(given);
    CHECK(value.scalar_type() == at::kFloat);
    CHECK(value.item<double>() == Approx(expected).epsilon(1e-5));
  }
}

TEST_CASE("under autocast SIGReg rounds the projections alone") {
  const auto z = exact_normal({2, 48, 8}, 4) * 1.5;
  const auto directions = PhiloxNoise(5).normal({8, 32}, at::kFloat);
  const auto unit = directions / directions.norm(2, {0}, /*keepdim=*/true);
  const auto projected = at::matmul(z, unit.to(at::kBFloat16));  // [T,B,M] in bfloat16
  for (const auto& options : {SigRegOptions(), SigRegOptions::lejepa(), SigRegOptions::bcs()}) {
    auto expected = statistic_of(projected, options);
    if (options.scale == StatisticScale::one) expected /= 48;
    const nn::Autocast autocast(at::kCPU, true);
    for (const auto& given : {z, z.to(at::kFloat)}) {
      const auto value = sigreg_along(given, directions, options);
      CHECK(value.scalar_type() == at::kFloat);
      CHECK(value.item<double>() == Approx(expected).epsilon(1e-5));
    }
  }
}

TEST_CASE("the directions of half-width latents are drawn in float32") {
  const auto z = exact_normal({2, 32, 8}, 6);
  const SigRegOptions options{.projections = 16};
  PhiloxNoise noise(7), same(7);
  const auto value = sigreg(z, options, noise);
  const auto along = sigreg_along(z, same.normal({8, 16}, at::kFloat), options);
  CHECK(value.item<double>() == along.item<double>());
}

}  // namespace foresight::losses::half_width_test
