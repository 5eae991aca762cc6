// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/collapse.hpp"

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "catch.hpp"
#include "foresight/core/error.hpp"
#include "foresight/core/noise.hpp"

namespace foresight::eval::collapse_test {
namespace {

// Rows with exactly the given standard deviations along orthogonal axes: +-s_i e_i, each once.
Tensor cross_polytope(const Tensor& deviations) {
  const auto n = static_cast<double>(deviations.size(0));
  const auto axes = at::diag(deviations * std::sqrt(n));
  return at::cat({axes, -axes});
}

// A rotation: Q of the QR decomposition of Gaussian draws.
Tensor rotation(int64_t size) {
  PhiloxNoise noise(5);
  return std::get<0>(at::linalg_qr(noise.normal({size, size}).to(at::kDouble)));
}

}  // namespace

TEST_CASE("Collapse metrics of a known spectrum equal their closed forms, whatever the rotation") {
  const auto deviations = at::tensor({4.0, 2.0, 1.0, 0.5}, at::kDouble);
  const auto latents = cross_polytope(deviations).mm(rotation(4)) + 3;  // offset: must not matter
  const auto report = measure_collapse(latents);
  // Singular values 4:2:1:0.5 -> shares 8/15, 4/15, 2/15, 1/15.
  double entropy = 0;
  for (const double share : {8.0 / 15, 4.0 / 15, 2.0 / 15, 1.0 / 15})
    entropy -= share * std::log(share);
  CHECK(report.effective_rank == Approx(std::exp(entropy)).epsilon(1e-10));
  const double total = 16 + 4 + 1 + 0.25, squares = 256 + 16 + 1 + 0.0625;
  CHECK(report.participation_ratio == Approx(total * total / squares).epsilon(1e-10));
  CHECK(report.largest_eigenvalue == Approx(16).epsilon(1e-10));
  CHECK(report.smallest_eigenvalue == Approx(0.25).epsilon(1e-10));
  CHECK(report.condition_number == Approx(64).epsilon(1e-9));
  CHECK(report.mean_variance == Approx(total / 4).epsilon(1e-10));  // the trace survives rotation
  CHECK(report.samples == 8);
  CHECK(report.dead_channels == 0);
}

TEST_CASE("Variance per channel is the population variance") {
  const auto report = measure_collapse(at::tensor({1.0f, 10.0f, 3.0f, 10.0f}).reshape({2, 2}));
  REQUIRE(report.variance.size() == 2);
  CHECK(report.variance[0] == Approx(1));
  CHECK(report.variance[1] == 0);
  CHECK(report.min_variance == 0);
  CHECK(report.max_variance == Approx(1));
  CHECK(report.dead_channels == 1);
}

TEST_CASE("Isotropic Gaussian latents have nearly full effective rank") {
  PhiloxNoise noise(2);
  const auto report = measure_collapse(noise.normal({40, 100, 16}));  // leading axes are samples
  CHECK(report.samples == 4000);
  CHECK(report.channels == 16);
  CHECK(report.effective_rank > 15.9);
  CHECK(report.effective_rank <= 16.0 + 1e-9);
  CHECK(report.condition_number < 1.4);
}

TEST_CASE("Latents of rank r are found to have rank r and a singular covariance") {
  PhiloxNoise noise(3);
  const auto basis = rotation(32).narrow(0, 0, 3);
  const auto report = measure_collapse(noise.normal({5000, 3}).to(at::kDouble).mm(basis));
  CHECK(report.effective_rank == Approx(3).margin(0.01));
  CHECK(std::isinf(report.condition_number));
  CHECK(report.smallest_eigenvalue == 0);
  CHECK(to_json(report).at("condition_number").is_null());
}

TEST_CASE("A constant latent is a total collapse") {
  const auto report = measure_collapse(at::full({10, 4}, 2.5));
  CHECK(report.effective_rank == 0);
  CHECK(report.dead_channels == 4);
  CHECK(report.max_variance == 0);
}

TEST_CASE("Collapse metrics refuse what they cannot measure") {
  CHECK_THROWS_AS(measure_collapse(at::ones({1, 4})), Error);
  CHECK_THROWS_AS(measure_collapse(at::ones({4})), Error);
  CHECK_THROWS_AS(measure_collapse(at::full({3, 2}, std::numeric_limits<float>::infinity())),
                  Error);
}

}  // namespace foresight::eval::collapse_test
