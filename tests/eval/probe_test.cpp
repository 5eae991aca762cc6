// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/probe.hpp"

#include <cmath>
#include <fstream>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "error_message.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"
#include "foresight/io/safetensors.hpp"
#include "temporary_folder.hpp"

namespace foresight::eval::probe_test {

TEST_CASE("A probe recovers an exact linear map and its offset") {
  PhiloxNoise noise(0);
  const auto latents = noise.normal({30, 10, 8});  // [episodes, steps, D]
  const auto weight = noise.normal({8, 2}).to(at::kDouble);
  const auto bias = at::tensor({100.0, -3.0}, at::kDouble);
  const auto targets = at::matmul(latents.to(at::kDouble), weight) + bias;
  const auto probe = fit_linear_probe(latents, targets, {"x", "y"}, 0);
  CHECK(at::allclose(probe.weight, weight, 1e-9, 1e-9));
  CHECK(at::allclose(probe.bias, bias, 1e-9, 1e-9));
  const auto report = evaluate_probe(probe, latents, targets);
  CHECK(report.rows == 300);
  REQUIRE(report.columns.size() == 2);
  CHECK(report.columns[1].name == "y");
  CHECK(report.columns[0].pearson_r == Approx(1).epsilon(1e-12));
  CHECK(report.columns[0].r2 == Approx(1).epsilon(1e-12));
  CHECK(report.rmse < 1e-8);
}

TEST_CASE("Ridge regression in one dimension equals its closed form") {
  // z = -1, 0, 1 (variance 2/3), y = 2 z: slope = (4/3) / (2/3 + ridge * 2/3) = 2 / (1 + ridge).
  const auto z = at::tensor({9.0, 10.0, 11.0}, at::kDouble).unsqueeze(1);
  const auto y = at::tensor({-2.0, 0.0, 2.0}, at::kDouble).unsqueeze(1);
  const auto probe = fit_linear_probe(z, y, {}, 0.25);
  CHECK(probe.weight.item<double>() == Approx(1.6));
  CHECK(probe.bias.item<double>() == Approx(-16));
  // Predictions -1.6, 0, 1.6: perfectly correlated, yet 0.4 off at both ends.
  const auto report = evaluate_probe(probe, z, y);
  CHECK(report.columns[0].pearson_r == Approx(1));
  CHECK(report.columns[0].rmse == Approx(std::sqrt(2 * 0.16 / 3)));
  CHECK(report.columns[0].r2 == Approx(1 - (2 * 0.16 / 3) / (8.0 / 3)));
}

TEST_CASE("Scaling the latents changes no prediction") {
  PhiloxNoise noise(1);
  const auto latents = noise.normal({200, 5}).to(at::kDouble);
  const auto targets = noise.normal({200, 2}).to(at::kDouble);
  const auto plain = fit_linear_probe(latents, targets, {}, 0.1).predict(latents);
  const auto scaled = fit_linear_probe(latents * 1000, targets, {}, 0.1).predict(latents * 1000);
  CHECK(at::allclose(plain, scaled, 1e-9, 1e-9));
}

TEST_CASE("Scores of noisy targets are what the noise allows") {
  PhiloxNoise noise(4);
  const auto latents = noise.normal({20000, 4}).to(at::kDouble);
  const auto targets = latents.narrow(1, 0, 1) + 0.5 * noise.normal({20000, 1}).to(at::kDouble);
  const auto fit = fit_linear_probe(latents.narrow(0, 0, 10000), targets.narrow(0, 0, 10000));
  const auto report =
      evaluate_probe(fit, latents.narrow(0, 10000, 10000), targets.narrow(0, 10000, 10000));
  CHECK(report.columns[0].rmse == Approx(0.5).margin(0.02));
  CHECK(report.columns[0].r2 == Approx(0.8).margin(0.02));  // 1 - 0.25 / 1.25
  CHECK(report.columns[0].pearson_r == Approx(std::sqrt(0.8)).margin(0.01));
}

TEST_CASE("A constant target has no correlation, and JSON says null") {
  PhiloxNoise noise(4);
  const auto latents = noise.normal({50, 3});
  const auto report =
      evaluate_probe(fit_linear_probe(latents, at::ones({50, 1})), latents, at::ones({50, 1}));
  CHECK(std::isnan(report.columns[0].r2));
  CHECK(to_json(report).at("columns")[0].at("r2").is_null());
  CHECK(report.rmse == Approx(0).margin(1e-12));
}

TEST_CASE("A probe survives a trip through a file") {
  const TemporaryFolder folder;
  PhiloxNoise noise(6);
  const auto latents = noise.normal({50, 3});
  const auto probe = fit_linear_probe(latents, noise.normal({50, 2}), {"x", "y \"px\""});
  const auto path = folder.path() / "probe.safetensors";
  probe.save(path);
  const auto back = LinearProbe::load(path);
  CHECK(at::equal(back.weight, probe.weight));
  CHECK(at::equal(back.bias, probe.bias));
  CHECK(back.names == probe.names);
}

TEST_CASE("Loading something else than a probe fails with a reason") {
  const TemporaryFolder folder;
  const auto path = folder.path() / "probe.safetensors";
  CHECK_THROWS_AS(LinearProbe::load(path), Error);
  io::write_safetensors(path, {{"weight", at::ones({3, 2})}, {"bias", at::ones({3})}});
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { LinearProbe::load(path); }, "[3, 2]"));
  io::write_safetensors(path, {{"weight", at::ones({3, 2})}, {"bias", at::ones({2})}},
                        {{"names", "[1, 2]"}});
  CHECK(fails_with(
      ErrorCategory::bad_file, [&] { LinearProbe::load(path); }, "names"));
  io::write_safetensors(path, {{"weight", at::ones({3, 2})}, {"bias", at::full({2}, NAN)}});
  CHECK_THROWS_AS(LinearProbe::load(path), Error);
}

TEST_CASE("Fitting refuses bad input") {
  const auto ones = at::ones({5, 2});
  CHECK(fails_with(
      ErrorCategory::invalid_argument, [&] { fit_linear_probe(ones, ones, {}, 0); }, "singular"));
  CHECK_THROWS_AS(fit_linear_probe(ones, at::ones({4, 1})), Error);
  CHECK_THROWS_AS(fit_linear_probe(at::ones({1, 2}), at::ones({1, 1})), Error);
  CHECK_THROWS_AS(fit_linear_probe(at::full({5, 2}, NAN), at::ones({5, 1})), Error);
  CHECK_THROWS_AS(fit_linear_probe(ones, ones, {"x"}), Error);
  CHECK_THROWS_AS(fit_linear_probe(ones, ones, {}, -1), Error);
  CHECK_THROWS_AS(LinearProbe().predict(ones), Error);
}

TEST_CASE("Rows are chosen by whole episodes") {
  const auto episodes = at::tensor({3, 3, 0, 5, 5, 5}, at::kLong);
  CHECK(at::equal(rows_of_episodes(episodes, {3, 5}), at::tensor({0, 1, 3, 4, 5}, at::kLong)));
  CHECK(rows_of_episodes(episodes, {7}).numel() == 0);
}

}  // namespace foresight::eval::probe_test
