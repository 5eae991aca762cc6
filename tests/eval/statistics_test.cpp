// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/statistics.hpp"

#include "catch.hpp"
#include "foresight/core/error.hpp"

namespace foresight::eval::statistics_test {

TEST_CASE("Wilson intervals agree with published values") {
  struct Case {
    int64_t successes, trials;
    double low, high;
  };
  // Newcombe 1998, "Two-sided confidence intervals for the single proportion", Statistics in
  // Medicine 17:857-872, table I, method 3 (score without continuity correction), 95 %.
  for (const auto& [successes, trials, low, high] :
       {Case{81, 263, 0.2553, 0.3662}, Case{15, 148, 0.0624, 0.1605}, Case{0, 20, 0, 0.1611},
        Case{1, 29, 0.0061, 0.1718}}) {
    const auto interval = wilson_interval(successes, trials);
    CHECK(interval.low == Approx(low).margin(5e-5));
    CHECK(interval.high == Approx(high).margin(5e-5));
  }
}

TEST_CASE("Wilson intervals mirror, and reach the ends exactly") {
  const auto some = wilson_interval(47, 50), others = wilson_interval(3, 50);
  CHECK(some.low == Approx(1 - others.high));
  CHECK(some.high == Approx(1 - others.low));
  CHECK(wilson_interval(50, 50).high == 1);
  CHECK(wilson_interval(0, 50).low == 0);
  // With all successes the lower bound is n / (n + z^2).
  CHECK(wilson_interval(50, 50).low == Approx(50 / (50 + 1.959964 * 1.959964)));
  CHECK(wilson_interval(25, 50, 0.99).low < wilson_interval(25, 50, 0.95).low);
}

TEST_CASE("Wilson intervals refuse impossible counts") {
  CHECK_THROWS_AS(wilson_interval(1, 0), Error);
  CHECK_THROWS_AS(wilson_interval(-1, 5), Error);
  CHECK_THROWS_AS(wilson_interval(6, 5), Error);
  CHECK_THROWS_AS(wilson_interval(1, 5, 1.0), Error);
}

TEST_CASE("Normal quantiles agree with tables") {
  CHECK(normal_quantile(0.5) == Approx(0).margin(1e-12));
  CHECK(normal_quantile(0.975) == Approx(1.959963984540054).epsilon(1e-12));
  CHECK(normal_quantile(0.995) == Approx(2.5758293035489004).epsilon(1e-12));
  CHECK(normal_quantile(1e-9) == Approx(-5.997807015).epsilon(1e-8));
}

TEST_CASE("Quantiles interpolate between order statistics") {
  CHECK(quantile({4, 1, 3, 2}, 0.5) == 2.5);
  CHECK(quantile({4, 1, 3, 2}, 0) == 1);
  CHECK(quantile({4, 1, 3, 2}, 1) == 4);
  CHECK(quantile({10, 20}, 0.95) == Approx(19.5));
  CHECK(quantile({7}, 0.3) == 7);
  CHECK_THROWS_AS(quantile({}, 0.5), Error);
  CHECK_THROWS_AS(quantile({1}, 1.5), Error);
  CHECK(summarise_durations({}).count == 0);
  const auto summary = summarise_durations({3, 1, 2});
  CHECK(summary.count == 3);
  CHECK(summary.median == 2);
  CHECK(summary.worst == 3);
}

}  // namespace foresight::eval::statistics_test
