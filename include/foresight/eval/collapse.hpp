// SPDX-License-Identifier: Apache-2.0
// Has the representation collapsed? A model without decoder can lower its prediction loss by
// mapping everything to one point, or into few dimensions; these numbers show it long before
// planning fails.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::eval {

struct CollapseReport {
  int64_t samples = 0;
  int64_t channels = 0;          ///< D
  std::vector<double> variance;  ///< of each channel over the samples (population) [D]
  double mean_variance = 0;
  double min_variance = 0;
  double max_variance = 0;
  int64_t dead_channels = 0;  ///< channels with less than 1e-4 of the mean variance
  /// exp of the entropy of the normalised singular values of the centred samples (Roy and Vetterli
  /// 2007, "The effective rank"): D for an isotropic latent, 1 for a line, 0 when nothing varies.
  double effective_rank = 0;
  /// (sum of covariance eigenvalues)^2 / sum of their squares: the same idea, dominated by the
  /// large directions.
  double participation_ratio = 0;
  double largest_eigenvalue = 0;   ///< of the covariance
  double smallest_eigenvalue = 0;  ///< of the covariance; 0 if it is numerically singular
  double condition_number = 0;     ///< their ratio; infinite if the covariance is singular
};

/// Measures latents [..., D] (all leading axes are samples) in double precision. Fewer samples than
/// channels bound the rank: use several times D. Throws Error for fewer than two samples or
/// non-finite values.
FORESIGHT_API CollapseReport measure_collapse(const Tensor& latents);

/// All fields; an infinite condition number becomes null.
FORESIGHT_API nlohmann::json to_json(const CollapseReport& report);

}  // namespace foresight::eval
