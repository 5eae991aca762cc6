// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/vicreg.hpp"

#include "foresight/core/error.hpp"

namespace foresight::losses {
namespace {

Tensor centred(const Tensor& z) {
  check_shape("z", z, {kAny, kAny, kAny}, "[B,T,D]");
  return z - z.mean(0, /*keepdim=*/true);
}

void require_samples(const Tensor& z, int64_t axis, const char* axis_letter, const char* term) {
  require(z.size(axis) >= 2, ErrorCategory::invalid_argument,
          std::string(term) + " of latents " + shape_string(z.sizes()) + " needs " + axis_letter +
              " >= 2");
}

Tensor std_over(const Tensor& z, int64_t axis, double epsilon) {
  const auto deviation = at::sqrt(z.var({axis}, /*unbiased=*/true) + epsilon);
  return at::relu(1.0 - deviation).mean();
}

// z [N,M,D]: N covariance matrices of M samples.
Tensor cov_over_rows(const Tensor& z) {
  const auto width = static_cast<double>(z.size(2));
  const auto c = at::matmul(z.transpose(1, 2), z) / static_cast<double>(z.size(1) - 1);
  const auto diagonal = c.diagonal(0, 1, 2);
  const auto off_diagonal = c.square().sum({1, 2}) - diagonal.square().sum({1});
  return (off_diagonal / (width * width - width)).mean();
}

}  // namespace

Tensor vicreg_std(const Tensor& z, double epsilon) {
  const auto c = centred(z);
  require_samples(z, 0, "B", "vicreg_std");
  return std_over(c, 0, epsilon);
}

Tensor vicreg_cov(const Tensor& z) {
  const auto c = centred(z);
  require_samples(z, 0, "B", "vicreg_cov");
  require_samples(z, 2, "D", "vicreg_cov");
  return cov_over_rows(c.transpose(0, 1));
}

Tensor vicreg_std_t(const Tensor& z, double epsilon) {
  const auto c = centred(z);
  require_samples(z, 1, "T", "vicreg_std_t");
  return std_over(c, 1, epsilon);
}

Tensor vicreg_cov_t(const Tensor& z) {
  const auto c = centred(z);
  require_samples(z, 1, "T", "vicreg_cov_t");
  require_samples(z, 2, "D", "vicreg_cov_t");
  return cov_over_rows(c);
}

}  // namespace foresight::losses
