// SPDX-License-Identifier: Apache-2.0
// Regions against geometry worked out by hand, and what costs and constraints make of them.
#include "foresight/planning/regions.hpp"

#include <cmath>
#include <limits>

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::regions_test {
namespace {

Tensor point(std::initializer_list<double> x) {
  return at::tensor(std::vector<double>(x), at::kDouble);
}

double at_point(const SignedDistance& region, std::initializer_list<double> x) {
  return region(point(x)).item<double>();
}

// One problem, two candidates, two steps, positions in the plane.
Trajectory at_positions(const std::vector<double>& xy) {
  Trajectory trajectory;
  trajectory.actions = at::zeros({1, 2, 2, 1});
  trajectory.states = State(3).set("latent", at::tensor(xy, at::kDouble).reshape({1, 2, 2, 1, 2}));
  return trajectory;
}

TEST_CASE("signed distances of balls, boxes and embeddings") {
  const auto two = balls({.centres = {{0, 0}, {3, 4}}, .radius = 2});
  CHECK(at_point(two, {0, 0}) == Approx(-2));
  CHECK(at_point(two, {3, 0}) == Approx(1));
  CHECK(at_point(two, {3, 5}) == Approx(-1));  // of the nearest one

  const auto cell = box({.low = {-1, -2}, .high = {1, 2}});
  CHECK(at_point(cell, {0, 0}) == Approx(-1));
  CHECK(at_point(cell, {0.5, 1.75}) == Approx(-0.25));
  CHECK(at_point(cell, {4, 6}) == Approx(5));  // from the corner
  CHECK(at_point(cell, {0, 3}) == Approx(1));
  const double open = std::numeric_limits<double>::infinity();
  CHECK(at_point(box({.low = {-open, 0}, .high = {open, open}}), {7, -2}) == Approx(2));

  const auto embeddings = at::randn({6, 5}, at::kDouble);
  const auto points = at::randn({2, 3, 4, 5}, at::kDouble);
  const auto expected = (points.unsqueeze(3) - embeddings).square().sum(4).sqrt().amin(3) - 0.5;
  CHECK(at::allclose(near_any(embeddings, 0.5)(points), expected));
  CHECK(near_any(embeddings, 0.5)(embeddings).add(0.5).abs().max().item<double>() < 1e-12);
}

TEST_CASE("distances of points in bfloat16 are those of their values, to float32's digits") {
  const auto embeddings = at::randn({6, 5}, at::kDouble);
  const auto points = at::randn({2, 3, 4, 5}).to(at::kBFloat16);
  const auto exact = points.to(at::kDouble);
  const auto near = near_any(embeddings, 0.5);
  const auto room = box({.low = {-1, -1, -1, -1, -1}, .high = {1, 1, 1, 1, 1}});
  for (const auto& region : {near, room}) {
    const auto distance = region(points);
    CHECK((distance.to(at::kDouble) - region(exact)).abs().max().item<double>() < 1e-5);
    CHECK(at::equal(region(points), distance));  // from what was converted the first time
  }
}

TEST_CASE("regions combine as sets do") {
  const auto left = balls({.centres = {{-1, 0}}, .radius = 1.5});
  const auto right = balls({.centres = {{1, 0}}, .radius = 1.5});
  for (const double x : {-2.0, 0.0, 2.0, 3.0}) {
    const auto p = point({x, 0.2});
    const auto a = left(p).item<double>() < 0, b = right(p).item<double>() < 0;
    CHECK((any_of({left, right})(p).item<double>() < 0) == (a || b));
    CHECK((all_of({left, right})(p).item<double>() < 0) == (a && b));
    CHECK((outside_of(left)(p).item<double>() < 0) == !a);
  }
}

TEST_CASE("costs grow with the square of the breach, constraints tell the worst step") {
  // Candidate 0 is 0.5 and 0.25 deep in the unit disc; candidate 1 passes at distance 2.
  const auto trajectory = at_positions({0.5, 0, 0, -0.75, 2, 0, 0, 3});
  const auto disc = balls({.centres = {{0, 0}}, .radius = 1});
  const auto where = position_in("latent");
  const auto value = [&](const CostTerm& term, int64_t s) {
    const auto result = term(trajectory, Task(1));
    REQUIRE(result.sizes() == at::IntArrayRef({1, 2}));
    return result[0][s].item<double>();
  };
  CHECK(value(keep_out(disc, where), 0) == Approx(0.25 + 0.0625));
  CHECK(value(keep_out(disc, where), 1) == 0.0);
  CHECK(value(keep_in(disc, where), 0) == 0.0);
  CHECK(value(keep_in(disc, where), 1) == Approx(1.0 + 4.0));
  CHECK(value(keep_out_constraint(disc, where), 0) == Approx(0.5));
  CHECK(value(keep_out_constraint(disc, where), 1) == Approx(-1.0));
  CHECK(value(keep_in_constraint(disc, where), 0) == Approx(-0.25));
  CHECK(value(keep_in_constraint(disc, where), 1) == Approx(2.0));
}

TEST_CASE("positions come from a field, some of its elements, or a probe") {
  const auto trajectory = at_positions({1, 2, 3, 4, 5, 6, 7, 8});
  const auto whole = position_in("latent")(trajectory);
  CHECK(whole.sizes() == at::IntArrayRef({1, 2, 2, 2}));
  CHECK(position_in("latent", {1, 0})(trajectory).equal(whole.flip(3)));
  const auto weight = at::randn({3, 2}, at::kDouble);
  const auto read = probed([weight](const Tensor& z) { return at::linear(z, weight); });
  CHECK(at::allclose(read(trajectory), at::matmul(whole, weight.t())));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { position_in("latent", {2})(trajectory); }, "2"));
}

TEST_CASE("regions that make no sense are refused by name") {
  const auto refused = [](auto&& make, auto... words) {
    return fails_with(ErrorCategory::invalid_option, make, words...);
  };
  CHECK(refused([] { balls({}); }, "centres"));
  CHECK(refused([] { balls({.centres = {{0, 0}, {1}}}); }, "centres", "same count"));
  CHECK(refused([] { balls({.centres = {{0}}, .radius = 0}); }, "radius"));
  CHECK(refused([] { box({.low = {0, 0}, .high = {1}}); }, "high"));
  CHECK(refused([] { box({.low = {1}, .high = {1}}); }, "low"));
  CHECK(refused([] { box({.low = {std::nan("")}, .high = {1}}); }, "low"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [] {
        near_any(at::full({1, 2}, std::nan("")), 1);
      },
      "embeddings"));
  const auto disc = balls({.centres = {{0, 0, 0}}, .radius = 1});
  CHECK(fails_with(
      ErrorCategory::invalid_argument,
      [&] {
        keep_out(disc, position_in("latent"))(at_positions({0, 0, 0, 0, 0, 0, 0, 0}), Task(1));
      },
      "[...,3]"));
}

}  // namespace
}  // namespace foresight::regions_test
