// SPDX-License-Identifier: Apache-2.0
// What the regulariser of a clip and the losses of two views mean: which samples, which pairs, and
// closed forms.
#include "foresight/losses/latent_regulariser.hpp"

#include <cmath>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/losses/two_views.hpp"

namespace foresight::latent_regulariser_test {
namespace {

using losses::LatentRegulariserOptions;
using losses::LatentView;

Tensor clip(at::IntArrayRef shape, std::uint64_t seed) {
  return PhiloxNoise(seed).normal(shape, at::kDouble);
}

double number(const Tensor& scalar) { return scalar.item<double>(); }

// mean over channels of relu(margin - sqrt(var + 1e-4)) of samples [N,F], written out.
double hinge_of(const Tensor& samples, double margin) {
  const auto deviation = (samples.var(0, /*unbiased=*/true) + 1e-4).sqrt();
  return number((margin - deviation).clamp_min(0).mean());
}

}  // namespace

TEST_CASE("samples are frames or tokens, of all frames or the first") {
  const auto z = clip({3, 4, 2, 5}, 1) * 0.3;  // [B,T,P,D]
  const auto std_of = [&](losses::SampleUnit unit, losses::SampledFrames frames) {
    return number(
        losses::latent_regulariser(z, {}, {.margin = 1.5, .samples = unit, .frames = frames})
            .at("std")
            .value);
  };
  using enum losses::SampleUnit;
  using enum losses::SampledFrames;
  CHECK(std_of(frame, all) == Approx(hinge_of(z.reshape({12, 10}), 1.5)));
  CHECK(std_of(token, all) == Approx(hinge_of(z.reshape({24, 5}), 1.5)));
  CHECK(std_of(frame, first) == Approx(hinge_of(z.select(1, 0).reshape({3, 10}), 1.5)));
  CHECK(std_of(token, first) == Approx(hinge_of(z.select(1, 0).reshape({6, 5}), 1.5)));
}

TEST_CASE("std and cov look through the projector, the other terms where they are told to") {
  const auto z = clip({3, 4, 1, 5}, 1), blocks = clip({3, 3, 5}, 2);
  losses::RegulariserHeads heads;
  heads.projector = [](const Tensor& x) { return x * 0.1; };
  heads.inverse_dynamics = [](const Tensor& pairs) { return pairs.narrow(-1, 0, 5); };
  const auto of = [&](LatentView view, const char* name) {
    LatentRegulariserOptions options;
    options.temporal_view = options.inverse_dynamics_view = view;
    return number(losses::latent_regulariser(z, blocks, options, heads).at(name).value);
  };
  const auto latents = z.squeeze(2);
  const double slow = number(at::diff(latents, 1, 1).square().mean());
  CHECK(of(LatentView::direct, "std") == Approx(hinge_of(latents.reshape({12, 5}) * 0.1, 1.0)));
  CHECK(of(LatentView::direct, "temporal") == Approx(slow));
  CHECK(of(LatentView::projected, "temporal") == Approx(0.01 * slow));
  INFO("the head reads the current latent first");
  const auto current = latents.narrow(1, 0, 3);
  CHECK(of(LatentView::direct, "inverse_dynamics") ==
        Approx(number((current - blocks).square().mean())));
  CHECK(of(LatentView::projected, "inverse_dynamics") ==
        Approx(number((current * 0.1 - blocks).square().mean())));
  INFO("upstream's mixture compares other rows");
  CHECK(std::abs(of(LatentView::projected_upstream, "temporal") - 0.01 * slow) > 1e-4);
}

TEST_CASE("terms without weight, time, blocks or head are not there") {
  const auto z = clip({3, 4, 1, 5}, 1), blocks = clip({3, 3, 2}, 2);
  const auto all = losses::latent_regulariser(z, blocks, {});
  CHECK_FALSE(all.has("inverse_dynamics"));
  CHECK(all.has("temporal"));
  const auto still = losses::latent_regulariser(z.narrow(1, 0, 1), {}, {.cov = 0});
  CHECK(still.terms().size() == 1);
  CHECK(still.terms().front().name == "std");
}

TEST_CASE("a regulariser that cannot be computed says why") {
  using enum ErrorCategory;
  const auto z = clip({3, 4, 1, 5}, 1);
  CHECK(fails_with(
      invalid_argument, [&] { losses::latent_regulariser(z.squeeze(2), {}, {}); }, "[B,T,P,D]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        losses::latent_regulariser(z, clip({3, 4, 2}, 2), {});
      },
      "[B,T-1,A]"));
  CHECK(fails_with(
      invalid_option, [&] { losses::latent_regulariser(z, {}, {.std = -1}); }, "std = -1"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg(z[0][0], z[0][0].narrow(1, 0, 2)); },
      "the first view's shape"));
}

TEST_CASE("equal views of a spread-out cloud cost nothing but its covariance") {
  const auto z = clip({64, 3}, 1) * 5;
  const auto terms = losses::vicreg(z, z, {.std = 2, .cov = 3});
  CHECK(number(terms.at("invariance").value) == 0);
  CHECK(number(terms.at("std").value) == 0);
  const auto c = at::cov(z.t());
  const double off = number((c.square().sum() - c.diagonal().square().sum()) / 6);
  CHECK(number(terms.total()) == Approx(3 * 2 * off));
}

TEST_CASE("the whole range of knots is the folded one where both hit the same points") {
  const auto z = clip({2, 40, 3}, 1), directions = clip({3, 8}, 2);
  losses::SigRegOptions folded{.projections = 8, .knots = 9, .t_max = 4};
  auto whole = folded;
  whole.knots = 17;
  whole.range = losses::KnotRange::whole;
  const double expected = number(losses::sigreg_along(z, directions, folded));
  CHECK(number(losses::sigreg_along(z, directions, whole)) == Approx(expected));
  whole.scale = losses::StatisticScale::one;
  CHECK(number(losses::sigreg_along(z, directions, whole)) == Approx(expected / 40));
}

}  // namespace foresight::latent_regulariser_test
