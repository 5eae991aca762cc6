// SPDX-License-Identifier: Apache-2.0
// The search's plain loops against the formulas, in double precision and by tensor operations; and
// the path without loops, which tensors that do not lie contiguous take.
#include "../../src/planning/cpu_loops.hpp"

#include <limits>

#include "catch.hpp"
#include "foresight/core/noise.hpp"

namespace foresight::detail::cpu_loops_test {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// The same numbers, laid out otherwise.
Tensor scattered(const Tensor& tensor) {
  auto wide = tensor.unsqueeze(-1).repeat_interleave(2, -1);
  return wide.select(-1, 0);
}

struct Shape {
  int64_t batch, draws, samples, length, width;
};

const std::vector<Shape> kShapes{
    {1, 1, 1, 1, 1}, {2, 1, 7, 5, 3}, {3, 3, 100, 4, 1}, {1, 1, 33, 17, 2}};
const std::vector<std::pair<at::ScalarType, double>> kTypes{{at::kFloat, 3e-6},
                                                            {at::kDouble, 1e-14}};

// Checks `compute` on contiguous and on scattered copies of its arguments.
template <class Compute>
void check(const std::vector<Tensor>& arguments, const Tensor& expected, double tolerance,
           Compute&& compute) {
  for (const bool contiguous : {true, false}) {
    INFO((contiguous ? "contiguous" : "scattered"));
    auto given = arguments;
    if (!contiguous)
      for (auto& tensor : given) tensor = scattered(tensor);
    const auto actual = compute(given);
    REQUIRE(actual.sizes() == expected.sizes());
    REQUIRE(actual.scalar_type() == arguments.front().scalar_type());
    const auto error = (actual.to(at::kDouble) - expected).abs() / (1.0 + expected.abs());
    CHECK(error.max().template item<double>() <= tolerance);
  }
}

TEST_CASE("candidates, limits and control costs by loops equal their formulas") {
  for (const auto& shape : kShapes)
    for (const auto& [type, tolerance] : kTypes) {
      INFO(shape.samples << " candidates in " << c10::toString(type));
      PhiloxNoise noise(3);
      const auto draw = [&noise, type = type](at::IntArrayRef sizes) {
        return noise.normal(sizes, type);
      };
      const auto mean = draw({shape.batch, shape.length, shape.width});
      const auto std = draw(mean.sizes()).abs();
      const auto draws = draw({shape.draws, shape.samples, shape.length, shape.width});
      const auto exact = [](const Tensor& tensor) { return tensor.to(at::kDouble); };
      const auto values = exact(mean).unsqueeze(1) + exact(draws) * exact(std).unsqueeze(1);
      check({mean, draws, std}, values, tolerance,
            [](const auto& x) { return spread_around(x[0], x[1], x[2]); });

      const auto low = -draw({shape.width}).abs(), high = draw({shape.width}).abs();
      const auto plans = values.to(type);
      check({plans, low, high}, at::minimum(at::maximum(exact(plans), exact(low)), exact(high)),
            0.0, [](const auto& x) {
              auto clamped = x[0].is_contiguous() ? x[0].clone() : scattered(x[0]);
              clamp_rows(clamped, x[1], x[2]);
              return clamped;
            });

      const auto apart = exact(plans) - exact(mean).unsqueeze(1);
      const auto weight = exact(std).unsqueeze(1);
      check({plans, mean, std}, (apart * weight).sum({2, 3}), 10 * tolerance,
            [](const auto& x) { return weighted_deviation(x[0], x[1], x[2], Deviation::plain); });
      check(
          {plans, mean, std}, (apart.abs() * weight).sum({2, 3}), 10 * tolerance,
          [](const auto& x) { return weighted_deviation(x[0], x[1], x[2], Deviation::absolute); });
    }
}

TEST_CASE("weighted moments by loops equal their formulas and leave out what has no weight") {
  for (const auto& shape : kShapes)
    for (const auto& [type, tolerance] : kTypes) {
      INFO(shape.samples << " candidates in " << c10::toString(type));
      PhiloxNoise noise(4);
      auto values = noise.normal({shape.batch, shape.samples, shape.length, shape.width}, type);
      auto weight = noise.uniform({shape.batch, shape.samples}, type);
      weight = weight / weight.sum(1, /*keepdim=*/true);
      if (shape.samples > 2) {
        values.select(1, 1).fill_(std::numeric_limits<double>::quiet_NaN());
        weight.select(1, 1).zero_();
      }
      const auto exact = at::nan_to_num(values.to(at::kDouble));
      const auto w = weight.to(at::kDouble).unsqueeze(-1).unsqueeze(-1);
      const auto mean = (exact * w).sum(1);
      check({values, weight}, mean, tolerance,
            [](const auto& x) { return weighted_mean(x[0], x[1]); });
      const auto centre = mean.to(type);
      check({values, weight, centre},
            ((exact - centre.to(at::kDouble).unsqueeze(1)).square() * w).sum(1), tolerance,
            [](const auto& x) { return weighted_variance(x[0], x[1], x[2]); });
    }
}

TEST_CASE("softmax weights by loops equal their formula, at any scale of cost") {
  for (const auto& [type, tolerance] : kTypes)
    for (const double scale : {1e-3, 1.0, 1e4}) {
      PhiloxNoise noise(5);
      auto cost = noise.normal({4, 101}, type) * scale + 7.0 * scale;
      cost[1][5] = kInfinity;
      cost[2].fill_(kInfinity);
      for (const bool contiguous : {true, false}) {
        const auto given = contiguous ? cost : scattered(cost);
        Selection selection;
        softmax_weights(given, 0.5, selection);
        const auto lowest = cost.amin(1, /*keepdim=*/true);
        const auto apart = (cost - lowest).to(at::kDouble);
        auto expected = at::exp(apart * -0.5);
        expected = expected / expected.sum(1, /*keepdim=*/true);
        expected[2].zero_();
        const auto error = (selection.weight.to(at::kDouble) - expected).abs().max();
        CHECK(error.item<double>() <= tolerance);
        CHECK(selection.weight[1][5].item<double>() == 0.0);
        CHECK(at::equal(selection.any.flatten(), at::tensor({1, 1, 0, 1}).to(at::kBool)));
        CHECK(at::allclose(selection.concentration.to(at::kDouble),
                           expected.square().sum(1, /*keepdim=*/true), 1e-5, 1e-7));
      }
    }
}

TEST_CASE("costs of candidates by loops equal their formulas, whatever is not finite in them") {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [type, tolerance] : kTypes) {
    INFO(c10::toString(type));
    PhiloxNoise noise(7);
    auto total = noise.normal({3, 40}, type);
    const auto control = noise.normal({3, 40}, type);
    total[0][3] = nan;
    total[1][0] = kInfinity;
    total[2][39] = -kInfinity;
    const auto ranked = [&](const Tensor& sum) {
      return at::where(sum.isfinite(), sum, at::full_like(sum, kInfinity));
    };
    const auto exact = total.to(at::kDouble);
    for (const bool contiguous : {true, false}) {
      const auto given = contiguous ? total : scattered(total);
      const auto sum = ranked_costs(given, control);
      CHECK(at::equal(sum, ranked(total + control)));
      CHECK(at::equal(ranked_costs(given, {}), ranked(total)));
      CHECK(at::equal(infinite_count(contiguous ? sum : scattered(sum)), at::ones({3}, at::kLong)));

      const auto weight = ranked(total).isfinite().to(type) / 40;
      const auto mean = weighted_cost(contiguous ? sum : scattered(sum), weight);
      const auto expected = at::nan_to_num(sum.to(at::kDouble), 0, 0, 0).sum(1) / 40;
      CHECK((mean.to(at::kDouble) - expected).abs().max().item<double>() <= tolerance);
    }
    CHECK(exact.isnan().sum().item<int64_t>() == 1);  // what was given stays as it was
  }
}

TEST_CASE("means of rows and rows by condition are the same by loops and without") {
  PhiloxNoise noise(8);
  for (const auto& [type, tolerance] : kTypes) {
    const auto yes = noise.normal({3, 5, 2}, type), no = noise.normal({3, 5, 2}, type);
    check({yes}, yes.to(at::kDouble).mean({1, 2}), tolerance,
          [](const auto& x) { return row_mean(x[0]); });
    for (const bool middle : {true, false}) {
      const auto condition = at::tensor({1, middle ? 1 : 0, 1}).to(at::kBool).unsqueeze(1);
      const auto expected = at::stack({yes[0], middle ? yes[1] : no[1], yes[2]}).to(at::kDouble);
      check({yes, no}, expected, 0.0,
            [&](const auto& x) { return rows_where(condition, x[0], x[1]); });
    }
  }
}

TEST_CASE("rows are picked alike by loops and by gathering") {
  PhiloxNoise noise(6);
  const auto index = at::tensor({2, 0, 3, 3, 1, 2}, at::kLong).view({2, 3});
  for (const auto& values : {noise.normal({2, 4, 3, 2}), noise.normal({2, 4}, at::kDouble)}) {
    const auto picked = rows_at(values, index);
    for (int64_t b = 0; b < 2; ++b)
      for (int64_t k = 0; k < 3; ++k)
        CHECK(at::equal(picked[b][k], values[b][index[b][k].item<int64_t>()]));
    CHECK(at::equal(rows_at(scattered(values), index), picked));
  }
}

TEST_CASE("a row with NaN or infinity is not finite, by loops and without") {
  auto values = at::zeros({4, 3, 2});
  values[1][2][1] = std::numeric_limits<double>::quiet_NaN();
  values[3][0][0] = -kInfinity;
  const auto expected = at::tensor({1, 0, 1, 0}).to(at::kBool);
  CHECK(at::equal(finite_rows(values), expected));
  CHECK(at::equal(finite_rows(scattered(values)), expected));
}

}  // namespace
}  // namespace foresight::detail::cpu_loops_test
