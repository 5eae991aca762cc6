// SPDX-License-Identifier: Apache-2.0
// Calibration of surprise against closed form: scales, quantiles and false alarms of Gaussian and
// other errors.
#include <cmath>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/control/safety_monitor.hpp"
#include "foresight/core/options_json.hpp"

namespace foresight::surprise_calibration_test {
namespace {

// Errors [n,1,D] with the standard deviations of `std`.
Tensor gaussian(PhiloxNoise& noise, int64_t n, const std::vector<double>& std) {
  const auto channels = static_cast<int64_t>(std.size());
  return noise.normal({n, 1, channels}, at::kDouble) * at::tensor(std, at::kDouble);
}

double quantile(const SurpriseCalibration& calibration, double level) {
  for (std::size_t i = 0; i < calibration.levels.size(); ++i)
    if (calibration.levels[i] == level) return calibration.quantiles[i];
  return std::nan("");
}

TEST_CASE("calibrating on Gaussian errors finds their scale and the quantiles of chi-squared") {
  PhiloxNoise noise(1);
  const std::vector<double> std{0.1, 2.0, 0.5, 1.0, 0.3, 7.0, 0.02, 1.5};
  const auto calibration = calibrate_surprise(gaussian(noise, 8000, std));
  CHECK(calibration.transitions == 4000);
  REQUIRE(calibration.scale.size() == 8);
  // A standard deviation from n values is known to std / sqrt(2n): four of those.
  for (std::size_t d = 0; d < 8; ++d)
    CHECK(calibration.scale[d] == Approx(std[d]).epsilon(4 / std::sqrt(8000.0)));
  // D * surprise^2 is chi-squared with D = 8 degrees of freedom.
  for (const auto& [level, chi_squared] :
       {std::pair{0.5, 7.344}, {0.9, 13.362}, {0.95, 15.507}, {0.99, 20.090}, {0.999, 26.124}}) {
    INFO("level " << level);
    CHECK(quantile(calibration, level) ==
          Approx(std::sqrt(chi_squared / 8)).epsilon(level > 0.99 ? 0.08 : 0.03));
  }
  CHECK(calibration.median == Approx(std::sqrt(7.344 / 8)).epsilon(0.03));
}

TEST_CASE("the robust spread of many channels is that of their Gaussian limit") {
  PhiloxNoise noise(2);
  // sqrt(chi-squared_D / D) tends to N(1, 1 / 2D).
  const auto calibration = calibrate_surprise(gaussian(noise, 4000, std::vector<double>(256, 3.0)));
  CHECK(calibration.median == Approx(1.0).epsilon(0.005));
  CHECK(calibration.spread == Approx(1 / std::sqrt(512.0)).epsilon(0.1));
  const double threshold =
      surprise_threshold(calibration, {.rule = SurpriseRule::robust_z, .z = 4.0, .margin = 2.0});
  CHECK(threshold == Approx(2 * (calibration.median + 4 * calibration.spread)));
}

TEST_CASE("false alarms come as often as was asked for, whatever the distribution") {
  constexpr int64_t kLater = 20000;
  PhiloxNoise noise(3);
  for (const bool gaussian_errors : {true, false})
    for (const double level : {0.9, 0.99, 0.995}) {
      INFO((gaussian_errors ? "Gaussian" : "cubed") << ", level " << level);
      const auto errors = [&](int64_t n) {
        const auto normal = gaussian(noise, n, {1.0, 0.2, 3.0, 0.7});
        return gaussian_errors ? normal : normal.pow(3);  // heavy tails
      };
      const auto calibration = calibrate_surprise(errors(4000));
      const double threshold = surprise_threshold(calibration, {.level = level});
      const auto later = surprise_of(errors(kLater), calibration.scale);
      const double rate = later.gt(threshold).to(at::kDouble).mean().item<double>();
      // The rate of one calibration of n is Beta(n + 1 - rank, rank), what is counted of it
      // binomial: four standard deviations of both.
      const double n = 2000, p = 1 - std::ceil((n + 1) * level - 1e-9) / (n + 1);
      const double deviation = std::sqrt(p * (1 - p) * (1 / (n + 2) + 1.0 / kLater));
      CHECK(std::abs(rate - p) < 4 * deviation);
    }
}

TEST_CASE("a level that the calibration cannot tell is refused with what would do") {
  PhiloxNoise noise(4);
  const auto calibration = calibrate_surprise(gaussian(noise, 220, {1.0}));  // 110 quantile values
  CHECK(calibration.levels.back() == 0.99);
  CHECK_NOTHROW(surprise_threshold(calibration, {.level = 0.99}));
  CHECK(fails_with(
      ErrorCategory::invalid_option, [&] { surprise_threshold(calibration, {.level = 0.999}); },
      "0.999", "110", "1998"));
  // 1998 do: 999 of them give the 0.999 quantile, the largest of all.
  CHECK(calibrate_surprise(gaussian(noise, 1998, {1.0})).levels.back() == 0.999);
  CHECK(calibrate_surprise(gaussian(noise, 1996, {1.0})).levels.back() == 0.998);
  // Between two levels the higher one is used.
  CHECK(surprise_threshold(calibration, {.level = 0.96}) == quantile(calibration, 0.98));
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { calibrate_surprise(gaussian(noise, 19, {1.0})); },
      "19", "20"));
  CHECK(fails_with(
      ErrorCategory::non_finite,
      [&] { calibrate_surprise(gaussian(noise, 40, {1.0}) * std::nan("")); }, "errors"));
}

TEST_CASE("calibration and options survive JSON, and nonsense in them is named") {
  PhiloxNoise noise(5);
  const auto calibration = calibrate_surprise(gaussian(noise, 400, {1.0, 0.5}));
  SurpriseCalibration copy;
  read_options(copy, nlohmann::json::parse(write_options(calibration).dump()), "config");
  CHECK(write_options(copy) == write_options(calibration));
  SafetyMonitorOptions options{.rule = SurpriseRule::robust_z, .response = SafetyResponse::hold};
  SafetyMonitorOptions other;
  read_options(other, write_options(options), "config");
  CHECK(other.rule == SurpriseRule::robust_z);
  CHECK(other.response == SafetyResponse::hold);
  const auto refused = [&](auto&& spoil, std::string_view word) {
    auto bad = calibration;
    spoil(bad);
    return fails_with(
        ErrorCategory::invalid_option, [&] { surprise_threshold(bad, {}); }, word);
  };
  CHECK(refused([](auto& c) { c.transitions = 0; }, "transitions"));
  CHECK(refused([](auto& c) { c.scale[1] = 0; }, "scale"));
  CHECK(refused([](auto& c) { c.scale.clear(); }, "scale"));
  CHECK(refused([](auto& c) { c.quantiles.pop_back(); }, "levels"));
  CHECK(refused([](auto& c) { std::swap(c.quantiles[0], c.quantiles[2]); }, "ascend"));
  CHECK(refused([](auto& c) { c.median = std::nan(""); }, "median"));
}

}  // namespace
}  // namespace foresight::surprise_calibration_test
