// SPDX-License-Identifier: Apache-2.0
// What the losses mean: closed forms, limits, and errors.
#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/straightening.hpp"
#include "foresight/losses/temporal.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/losses/vicreg.hpp"

namespace foresight::losses_test {

namespace {

Tensor normal(at::IntArrayRef shape, std::uint64_t seed) {
  return PhiloxNoise(seed).normal(shape, at::kDouble);
}

double value(const Tensor& scalar) { return scalar.item<double>(); }

}  // namespace

TEST_CASE("prediction distances are the mean square, mean absolute and Huber differences") {
  const auto a = at::tensor({0.0, 1.0, 5.0}), b = at::tensor({0.5, 1.0, 2.0});
  using losses::Distance;
  CHECK(value(losses::prediction(a, b, Distance::l2)) == Approx((0.25 + 9) / 3));
  CHECK(value(losses::prediction(a, b, Distance::l1)) == Approx(3.5 / 3));
  CHECK(value(losses::prediction(a, b, Distance::smooth_l1)) == Approx((0.125 + 2.5) / 3));
}

TEST_CASE("multi-step prediction weighs step k by the discount to the power k") {
  const auto zero = at::zeros({2, 3});
  const std::vector<Tensor> predicted{zero + 1, zero + 2, zero + 3}, target{zero, zero, zero};
  const double expected = (1 * 1 + 0.5 * 4 + 0.25 * 9) / 1.75;
  CHECK(value(losses::multi_step_prediction(predicted, target, losses::Distance::l2, 0.5)) ==
        Approx(expected));
  CHECK(value(losses::multi_step_prediction(predicted, target)) == Approx(14.0 / 3));
}

TEST_CASE("sigreg is small for a Gaussian, large for a collapsed or over-spread distribution") {
  const losses::SigRegOptions options{.projections = 64};
  const auto of = [&](const Tensor& z) {
    PhiloxNoise noise(1);
    return value(losses::sigreg(z, options, noise));
  };
  const auto gaussian = normal({1, 512, 8}, 2);
  const double at_gaussian = of(gaussian);
  CHECK(of(gaussian * 0.01) > 20 * at_gaussian);
  CHECK(of(gaussian * 4) > 20 * at_gaussian);
  CHECK(of(gaussian + 1.0) > 20 * at_gaussian);
  // All points at the origin: B * sum_j w_j (1 - exp(-t^2/2))^2, whatever the directions.
  const auto q = losses::sigreg_quadrature(options, at::kDouble);
  const double collapsed = 512 * value((q.weights * (1 - q.gaussian).square()).sum());
  CHECK(of(at::zeros({1, 512, 8}, at::kDouble)) == Approx(collapsed));
}

TEST_CASE("sigreg draws new directions at every call and repeats for a seed") {
  const auto z = normal({2, 16, 4}, 3);
  PhiloxNoise noise(1), again(1);
  const auto first = value(losses::sigreg(z, {.projections = 8}, noise));
  CHECK(first != value(losses::sigreg(z, {.projections = 8}, noise)));
  CHECK(first == value(losses::sigreg(z, {.projections = 8}, again)));
}

TEST_CASE("the variance term is zero above the margin and one at a collapse") {
  const auto z = normal({64, 3, 5}, 4);
  CHECK(value(losses::vicreg_std(z * 5)) == 0.0);
  const auto collapsed = at::ones({8, 3, 5}, at::kDouble);
  CHECK(value(losses::vicreg_std(collapsed)) == Approx(1 - 0.01));
  CHECK(value(losses::vicreg_std_t(collapsed)) == Approx(1 - 0.01));
}

TEST_CASE("the covariance term is the mean squared off-diagonal covariance") {
  const auto x = normal({4000, 1, 1}, 5);
  const auto z = at::cat({x, 2 * x}, 2);  // covariance 2 * var(x)
  const double variance = value(x.var(at::IntArrayRef{0}).mean());
  CHECK(value(losses::vicreg_cov(z)) == Approx(4 * variance * variance));
  CHECK(value(losses::vicreg_cov(normal({4000, 1, 4}, 6))) < 1e-3);
}

TEST_CASE("motion along a line is straight, motion back and forth is not") {
  const auto direction = at::tensor({1.0, 2.0, -1.0});
  const auto steps = [&](std::vector<double> positions) {
    return (at::tensor(positions).view({1, -1, 1}) * direction);
  };
  CHECK(value(losses::straightening(steps({0, 1, 3, 4}))) == Approx(-1.0));
  CHECK(value(losses::straightening(steps({0, 1, 0, 1}))) == Approx(1.0));
  CHECK(value(losses::temporal_similarity(steps({0, 1, 3}))) == Approx((6.0 + 24.0) / 6));
}

TEST_CASE("the inverse-dynamics head reads the later latent first") {
  const auto z = at::arange(6, at::kDouble).view({1, 3, 2});
  const auto input = losses::inverse_dynamics_input(z);
  CHECK(at::equal(input, at::tensor({2.0, 3.0, 0.0, 1.0, 4.0, 5.0, 2.0, 3.0}).view({1, 2, 4})));
}

TEST_CASE("terms keep order, weights and values, and their total carries the gradient") {
  const auto x = at::tensor({2.0, 3.0}).requires_grad_();
  losses::Terms terms;
  terms.add("a", 1.0, x.sum()).add("b", 0.5, x.square().sum()).add("off", 0.0, x.prod());
  CHECK(value(terms.total()) == Approx(5 + 6.5));
  CHECK(at::allclose(terms.values(), at::tensor({11.5, 5.0, 13.0, 6.0})));
  CHECK_FALSE(terms.values().requires_grad());
  CHECK(terms.at("b").weight == 0.5);
  terms.total().backward();
  CHECK(at::allclose(x.grad(), at::tensor({1.0 + 2.0, 1.0 + 3.0})));

  using enum ErrorCategory;
  CHECK(fails_with(
      not_found, [&] { terms.at("c"); }, "'c'", "a, b, off"));
  CHECK(fails_with(
      invalid_argument, [&] { terms.add("a", 1.0, x.sum()); }, "already there"));
  CHECK(fails_with(
      invalid_argument, [&] { terms.add("v", 1.0, x); }, "[2]", "a scalar"));
  CHECK(fails_with(
      invalid_argument, [&] { terms.add("n", std::numeric_limits<double>::quiet_NaN(), x.sum()); },
      "finite"));
  CHECK(fails_with(
      invalid_argument, [] { losses::Terms().total(); }, "without terms"));
}

TEST_CASE("a probe learns along, but is no part of the loss") {
  const auto x = at::tensor({2.0, 3.0}).requires_grad_(), probe = at::ones({}).requires_grad_();
  losses::Terms terms;
  terms.add("probe", 0.5, (probe - 5).square(), losses::TermRole::probe);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { terms.total(); }, "without terms"));
  terms.add("a", 2.0, x.sum());
  CHECK(value(terms.total()) == 10);
  CHECK(value(terms.trained()) == 10 + 8);
  CHECK(at::allclose(terms.values(), at::tensor({10.0, 16.0, 5.0})));
  terms.trained().backward();
  CHECK(value(probe.grad()) == -4);
  CHECK(at::equal(x.grad(), at::full({2}, 2.0F)));
}

TEST_CASE("losses without enough samples are errors, not NaN") {
  using enum ErrorCategory;
  const auto z = [](int64_t b, int64_t t, int64_t d) { return at::zeros({b, t, d}); };
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg_std(z(1, 3, 4)); }, "B >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg_cov(z(1, 3, 4)); }, "B >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg_std_t(z(3, 1, 4)); }, "T >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg_cov_t(z(3, 1, 4)); }, "T >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::vicreg_cov(z(3, 3, 1)); }, "D >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::straightening(z(3, 2, 4)); }, "T >= 3"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::temporal_similarity(z(3, 1, 4)); }, "T >= 2"));
  CHECK(fails_with(
      invalid_argument, [&] { losses::prediction(z(1, 2, 3), z(1, 2, 4)); }, "[1, 2, 3]",
      "[1, 2, 4]"));
  CHECK(fails_with(
      invalid_argument,
      [&] {
        losses::sigreg_along(z(1, 2, 3), at::ones({4, 2}), {});
      },
      "directions"));
  CHECK(fails_with(
      invalid_option, [] { losses::sigreg_quadrature({.knots = 1}); }, "knots = 1"));
}

}  // namespace foresight::losses_test
