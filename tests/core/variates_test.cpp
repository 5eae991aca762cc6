// SPDX-License-Identifier: Apache-2.0
// Random variates against the closed forms of their distributions.
#include "foresight/core/variates.hpp"

#include <algorithm>
#include <cmath>
#include <vector>

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight {
namespace {

constexpr int kVariates = 200000;

template <class Draw>
std::vector<double> drawn_variates(Draw&& draw) {
  std::vector<double> values(kVariates);
  for (double& value : values) value = draw();
  return values;
}

template <class F>
double mean_of_variates(const std::vector<double>& values, F&& f) {
  double sum = 0;
  for (const double value : values) sum += f(value);
  return sum / static_cast<double>(values.size());
}

// Modified Bessel functions I_n by their integral (1/pi) int_0^pi exp(k cos t) cos(n t) dt.
double bessel_i(int order, double k) {
  constexpr int kPoints = 20000;  // trapezoid: exact to rounding for a periodic integrand
  double sum = 0;
  for (int i = 0; i < kPoints; ++i) {
    const double t = 2 * std::numbers::pi * i / kPoints;
    sum += std::exp(k * std::cos(t)) * std::cos(order * t);
  }
  return sum / kPoints;
}

double normal_density(double z) { return std::exp(-z * z / 2) / std::sqrt(2 * std::numbers::pi); }
double normal_distribution(double z) { return std::erfc(-z / std::sqrt(2.0)) / 2; }

}  // namespace

TEST_CASE("von Mises variates have the circular moments I_n(k) / I_0(k)") {
  for (const double k : {0.1, 1.0, 5.0, 40.0}) {
    INFO("concentration " << k);
    UniformStream uniform(11, static_cast<std::uint64_t>(10 * k));
    const auto angles = drawn_variates([&] { return von_mises_variate(k, uniform); });
    const double error = 5 / std::sqrt(2.0 * kVariates);  // of a mean cosine: at least 5 deviations
    for (const int n : {1, 2, 3}) {
      const double mean = mean_of_variates(angles, [n](double x) { return std::cos(n * x); });
      CHECK(std::abs(mean - bessel_i(n, k) / bessel_i(0, k)) < error);
      CHECK(std::abs(mean_of_variates(angles, [n](double x) { return std::sin(n * x); })) < error);
    }
    CHECK(std::all_of(angles.begin(), angles.end(),
                      [](double x) { return std::abs(x) <= std::numbers::pi; }));
  }
}

TEST_CASE("truncated normal variates have the moments and the distribution of their interval") {
  struct Case {
    double mean, std, low, high;
  };
  // eb_jepa's steps, its door, a narrow and a one-sided interval.
  for (const auto& one :
       {Case{1.0, 0.4, 0.2, 1.8}, Case{20, 1.4, 16, 24}, Case{0, 1, -0.5, 1}, Case{2, 3, 2, 50}}) {
    const double mean = one.mean, std = one.std, low = one.low, high = one.high;
    INFO("mean " << mean << ", std " << std << ", in [" << low << ", " << high << "]");
    UniformStream uniform(12);
    const auto values =
        drawn_variates([&] { return truncated_normal_variate(mean, std, low, high, uniform); });
    const double a = (low - mean) / std, b = (high - mean) / std;
    const double mass = normal_distribution(b) - normal_distribution(a);
    const double first = (normal_density(a) - normal_density(b)) / mass;
    const double second = 1 + (a * normal_density(a) - b * normal_density(b)) / mass;
    const double expected_mean = mean + std * first;
    const double expected_variance = std * std * (second - first * first);
    const double drawn_mean = mean_of_variates(values, [](double x) { return x; });
    const double drawn_variance =
        mean_of_variates(values, [&](double x) { return (x - drawn_mean) * (x - drawn_mean); });
    CHECK(std::abs(drawn_mean - expected_mean) < 5 * std::sqrt(expected_variance / kVariates));
    CHECK(std::abs(drawn_variance / expected_variance - 1) < 5 * std::sqrt(3.0 / kVariates));
    CHECK(*std::min_element(values.begin(), values.end()) >= low);
    CHECK(*std::max_element(values.begin(), values.end()) <= high);
    for (const double share : {0.2, 0.5, 0.9}) {
      const double x = low + share * (high - low);
      const double expected =
          (normal_distribution((x - mean) / std) - normal_distribution(a)) / mass;
      const double below = mean_of_variates(values, [x](double v) { return v <= x ? 1.0 : 0.0; });
      CHECK(std::abs(below - expected) < 5 * 0.5 / std::sqrt(kVariates));
    }
  }
}

TEST_CASE("a uniform stream is the Philox blocks of its seed and stream, both ends excluded") {
  UniformStream uniform(0x123456789abcdefULL, 7);
  for (std::uint32_t block = 0; block < 3; ++block)
    for (const auto word : philox4x32({block, 0, 7, 0}, {0x89abcdef, 0x1234567}))
      CHECK(uniform() == (word + 0.5) / 4294967296.0);
  UniformStream other(0x123456789abcdefULL, 8);
  CHECK(UniformStream(0x123456789abcdefULL, 7)() != other());
}

TEST_CASE("variates of impossible distributions are refused") {
  UniformStream uniform(0);
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { von_mises_variate(0, uniform); }, "concentration"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { truncated_normal_variate(3, 1, -1, 2, uniform); },
      "low <= mean <= high"));
}

}  // namespace foresight
