// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/power.hpp"

#include "catch.hpp"
#include "error_message.hpp"

namespace foresight::power_test {

TEST_CASE("the power distance is the mean of |difference|^p / p") {
  const auto a = at::tensor({1.0, -2.0, 0.5}, at::kDouble), b = at::zeros({3}, at::kDouble);
  CHECK(losses::power_distance(a, b, 1.0).item<double>() == Approx((1 + 2 + 0.5) / 3));
  CHECK(losses::power_distance(a, b, 2.0).item<double>() == Approx((1 + 4 + 0.25) / 6));
  CHECK(losses::power_distance(a, b, 3.0).item<double>() == Approx((1 + 8 + 0.125) / 9));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { losses::power_distance(a, b, 0.0); }, "exponent"));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { losses::power_distance(a, b.slice(0, 1), 1.0); },
      "[2]", "[3]"));
}

}  // namespace foresight::power_test
