// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/ticks.hpp"

#include <cmath>
#include <limits>
#include <random>

#include "catch.hpp"
#include "foresight/core/error.hpp"

namespace foresight::viz::ticks_test {

namespace {

std::vector<std::string> labels(const Ticks& axis) {
  std::vector<std::string> found;
  for (const auto& tick : axis.ticks) found.push_back(tick.label);
  return found;
}
using Labels = std::vector<std::string>;

}  // namespace

TEST_CASE("linear ticks are multiples of 1, 2 or 5 and labelled alike") {
  CHECK(labels(linear_ticks(0, 1)) == Labels{"0", "0.2", "0.4", "0.6", "0.8", "1.0"});
  CHECK(labels(linear_ticks(-1, 1, Fit::loose, 4)) == Labels{"−1.0", "−0.5", "0", "0.5", "1.0"});
  CHECK(labels(linear_ticks(0, 100)) == Labels{"0", "20", "40", "60", "80", "100"});
  CHECK(labels(linear_ticks(0, 50000)) == Labels{"0", "10k", "20k", "30k", "40k", "50k"});
  CHECK(labels(linear_ticks(0, 2.5e6)) == Labels{"0", "0.5M", "1.0M", "1.5M", "2.0M", "2.5M"});
}

TEST_CASE("a loose axis ends at ticks, a tight one at the data") {
  const auto loose = linear_ticks(0.13, 0.94);
  CHECK(loose.low == Approx(0));
  CHECK(loose.high == Approx(1));
  const auto tight = linear_ticks(0.13, 0.94, Fit::tight);
  CHECK(tight.low == 0.13);
  CHECK(tight.high == 0.94);
  CHECK(labels(tight) == Labels{"0.2", "0.4", "0.6", "0.8"});
}

TEST_CASE("logarithmic ticks are powers of ten, with 2 and 5 between over short ranges") {
  CHECK(labels(log_ticks(1, 1000)) == Labels{"1", "10", "100", "1000"});
  CHECK(labels(log_ticks(0.02, 0.4)) == Labels{"0.02", "0.05", "0.1", "0.2", "0.5"});
  const auto wide = log_ticks(1e-12, 1e12);
  CHECK(wide.ticks.size() <= 7);
  CHECK(wide.ticks.front().label == "1·10⁻¹²");
}

TEST_CASE("any drawable range gives a few finite ascending ticks inside it") {
  std::mt19937 generator(7);
  std::uniform_real_distribution<double> exponent(-299, 299), fraction(0, 1);
  for (int trial = 0; trial < 3000; ++trial) {
    double low = std::pow(10, exponent(generator)), high = trial % 3 == 0
                                                               ? low * (1 + fraction(generator))
                                                               : std::pow(10, exponent(generator));
    if (low > high) std::swap(low, high);
    for (const auto& axis :
         {linear_ticks(low, high), linear_ticks(-high, low, Fit::tight), log_ticks(low, high)}) {
      INFO(low << " to " << high);
      REQUIRE(std::isfinite(axis.low));
      REQUIRE(axis.low < axis.high);
      REQUIRE(axis.ticks.size() >= 1);
      REQUIRE(axis.ticks.size() <= 14);
      for (std::size_t i = 0; i < axis.ticks.size(); ++i) {
        REQUIRE(axis.ticks[i].value >= axis.low);
        REQUIRE(axis.ticks[i].value <= axis.high);
        if (i > 0) REQUIRE(axis.ticks[i].value > axis.ticks[i - 1].value);
      }
    }
  }
}

TEST_CASE("an empty range is widened around its value") {
  for (const double value : {0.0, 5.0, -3e9, 1e-200, 1e16}) {
    const auto axis = linear_ticks(value, std::nextafter(value, 1e300));
    CHECK(axis.low < value);
    CHECK(axis.high > value);
  }
  CHECK(log_ticks(3, 3).low <= 3);
  CHECK(log_ticks(2, 2).low < log_ticks(2, 2).high);
}

TEST_CASE("ranges that cannot be drawn are refused") {
  const double nan = std::nan(""), infinity = std::numeric_limits<double>::infinity();
  CHECK_THROWS_AS(linear_ticks(1, 0), foresight::Error);
  CHECK_THROWS_AS(linear_ticks(nan, 1), foresight::Error);
  CHECK_THROWS_AS(linear_ticks(0, infinity), foresight::Error);
  CHECK_THROWS_AS(log_ticks(0, 1), foresight::Error);
  CHECK_THROWS_AS(log_ticks(1, nan), foresight::Error);
}

}  // namespace foresight::viz::ticks_test
