// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/vicreg.hpp"

#include "foresight/core/error.hpp"
#include "foresight/core/replicas.hpp"
#include "foresight/losses/widened.hpp"

namespace foresight::losses {
namespace {

Tensor centred(const Tensor& z) {
  check_shape("z", z, {kAny, kAny, kAny}, "[B,T,D]");
  const auto wide = widened(z);
  return wide - mean_over_replicas(wide.mean(0, /*keepdim=*/true));
}

void require_samples(const Tensor& z, int64_t axis, const char* axis_letter, const char* term) {
  const auto samples = axis == 0 ? z.size(0) * replica_count() : z.size(axis);
  require(samples >= 2, ErrorCategory::invalid_argument,
          std::string(term) + " of latents " + shape_string(z.sizes()) + " needs " + axis_letter +
              " >= 2");
}

// B - 1 of the whole batch.
double batch_freedom(const Tensor& z) {
  return static_cast<double>(z.size(0) * replica_count() - 1);
}

Tensor hinge(const Tensor& variance, double epsilon, double margin) {
  return at::relu(margin - at::sqrt(variance + epsilon)).mean();
}

// Sums of products z' z of rows: [N,M,D] -> [N,D,D]. Autocast multiplies in half width.
Tensor products(const Tensor& z) { return widened(at::matmul(z.transpose(1, 2), z)); }

// c [N,D,D]: N covariance matrices.
Tensor off_diagonal_power(const Tensor& c) {
  const auto width = static_cast<double>(c.size(2));
  const auto diagonal = c.diagonal(0, 1, 2);
  const auto off_diagonal = c.square().sum({1, 2}) - diagonal.square().sum({1});
  return (off_diagonal / (width * width - width)).mean();
}

}  // namespace

Tensor vicreg_std(const Tensor& z, double epsilon, double margin) {
  const auto c = centred(z);
  require_samples(z, 0, "B", "vicreg_std");
  // Centred already, and over all replicas, which var() of one's own rows would undo.
  return hinge(sum_over_replicas(c.square().sum(0)) / batch_freedom(z), epsilon, margin);
}

Tensor vicreg_cov(const Tensor& z) {
  const auto c = centred(z);
  require_samples(z, 0, "B", "vicreg_cov");
  require_samples(z, 2, "D", "vicreg_cov");
  return off_diagonal_power(sum_over_replicas(products(c.transpose(0, 1))) / batch_freedom(z));
}

Tensor vicreg_std_t(const Tensor& z, double epsilon) {
  const auto c = centred(z);
  require_samples(z, 1, "T", "vicreg_std_t");
  return hinge(c.var({1}, /*unbiased=*/true), epsilon, 1.0);
}

Tensor vicreg_cov_t(const Tensor& z) {
  const auto c = centred(z);
  require_samples(z, 1, "T", "vicreg_cov_t");
  require_samples(z, 2, "D", "vicreg_cov_t");
  return off_diagonal_power(products(c) / static_cast<double>(z.size(1) - 1));
}

}  // namespace foresight::losses
