// SPDX-License-Identifier: Apache-2.0
#include "foresight/eval/collapse.hpp"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"

namespace foresight::eval {

CollapseReport measure_collapse(const Tensor& latents) {
  require(latents.defined() && latents.dim() >= 2 && latents.size(-1) >= 1,
          ErrorCategory::invalid_argument, "measure_collapse: latents must be [..., D]");
  check_finite("measure_collapse: latents", latents);
  const at::NoGradGuard no_grad;
  const auto samples = latents.detach().to(at::kCPU, at::kDouble).reshape({-1, latents.size(-1)});
  require(samples.size(0) >= 2, ErrorCategory::invalid_argument,
          "measure_collapse: " + std::to_string(samples.size(0)) +
              " sample(s), at least two are needed");
  const auto centred = samples - samples.mean(0, /*keepdim=*/true);
  const auto covariance = centred.t().mm(centred) / static_cast<double>(samples.size(0));
  const auto variance = covariance.diagonal().contiguous();

  CollapseReport report;
  report.samples = samples.size(0);
  report.channels = samples.size(1);
  report.variance.assign(variance.data_ptr<double>(),
                         variance.data_ptr<double>() + report.channels);
  report.mean_variance = variance.mean().item<double>();
  report.min_variance = variance.min().item<double>();
  report.max_variance = variance.max().item<double>();
  if (report.max_variance <= 0) {
    report.dead_channels = report.channels;
    report.condition_number = std::numeric_limits<double>::infinity();
    return report;
  }
  report.dead_channels = (variance < 1e-4 * report.mean_variance).sum().item<int64_t>();

  // Eigenvalues below rounding error are zero: their square roots would otherwise count as weak
  // directions.
  auto eigenvalues = at::linalg_eigvalsh(covariance).clamp_min(0);
  report.largest_eigenvalue = eigenvalues.max().item<double>();
  const double rounding = report.largest_eigenvalue * static_cast<double>(report.channels) *
                          std::numeric_limits<double>::epsilon();
  eigenvalues = at::where(eigenvalues > rounding, eigenvalues, at::zeros_like(eigenvalues));
  report.smallest_eigenvalue = eigenvalues.min().item<double>();
  report.condition_number = report.smallest_eigenvalue > 0
                                ? report.largest_eigenvalue / report.smallest_eigenvalue
                                : std::numeric_limits<double>::infinity();
  // Singular values of the centred samples are sqrt(N * eigenvalue); N cancels.
  const auto singular = eigenvalues.sqrt();
  const auto share = singular / singular.sum();
  report.effective_rank = std::exp(-at::xlogy(share, share).sum().item<double>());
  const double total = eigenvalues.sum().item<double>();
  report.participation_ratio = total * total / eigenvalues.square().sum().item<double>();
  return report;
}

nlohmann::json to_json(const CollapseReport& report) {
  return {{"samples", report.samples},
          {"channels", report.channels},
          {"variance", report.variance},
          {"mean_variance", report.mean_variance},
          {"min_variance", report.min_variance},
          {"max_variance", report.max_variance},
          {"dead_channels", report.dead_channels},
          {"effective_rank", report.effective_rank},
          {"participation_ratio", report.participation_ratio},
          {"largest_eigenvalue", report.largest_eigenvalue},
          {"smallest_eigenvalue", report.smallest_eigenvalue},
          {"condition_number", std::isfinite(report.condition_number)
                                   ? nlohmann::json(report.condition_number)
                                   : nlohmann::json(nullptr)}};
}

}  // namespace foresight::eval
