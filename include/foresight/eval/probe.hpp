// SPDX-License-Identifier: Apache-2.0
// Linear probes: what can be read off a latent by one matrix? Fitted on some episodes, judged on
// others; a fitted probe also draws imagined latents as positions.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::eval {

/// y = z W + b, in double precision.
struct FORESIGHT_API LinearProbe {
  Tensor weight;                   ///< [D,K] double
  Tensor bias;                     ///< [K] double
  std::vector<std::string> names;  ///< what each column is, e.g. "x"; K of them

  /// Latents [..., D] of any floating type -> predictions [..., K], double on the CPU.
  Tensor predict(const Tensor& latents) const;
  /// Two tensors, "weight" and "bias", in a safetensors file; the names are its metadata.
  void save(const std::filesystem::path& path) const;
  /// Throws Error(bad_file) unless the file holds the two tensors in matching shapes.
  static LinearProbe load(const std::filesystem::path& path);
};

/// Closed-form ridge regression with an unpenalised bias: W = (C_zz + r I)^-1 C_zy with r = `ridge`
/// * mean latent variance, so that scaling the latents changes nothing. `latents` [..., D] and
/// `targets` [..., K] share their leading axes; `names` may be empty ("column_0", ...). Throws
/// Error for fewer than two rows, non-finite values, ridge < 0 or a singular problem (ridge 0 with
/// dependent channels).
FORESIGHT_API LinearProbe fit_linear_probe(const Tensor& latents, const Tensor& targets,
                                           std::vector<std::string> names = {},
                                           double ridge = 1e-6);

/// Quality of one predicted column.
struct ProbeScore {
  std::string name;
  double pearson_r = 0;  ///< correlation of prediction and target; NaN where either is constant
  double r2 = 0;  ///< 1 - squared error / variance of the target; NaN where the target is constant
  double rmse = 0;  ///< in the target's units
};

struct ProbeReport {
  int64_t rows = 0;
  std::vector<ProbeScore> columns;
  double rmse = 0;  ///< root of the mean squared length of the error vector, e.g. a distance in px
};

/// Judges a probe on rows it was not fitted on.
FORESIGHT_API ProbeReport evaluate_probe(const LinearProbe& probe, const Tensor& latents,
                                         const Tensor& targets);

/// The same of predictions [..., K], however they were made; `names` may be empty. Throws Error for
/// shapes that differ and for values that are not finite.
FORESIGHT_API ProbeReport evaluate_predictions(const Tensor& predicted, const Tensor& targets,
                                               std::vector<std::string> names = {});

/// Indices of the rows, int64, whose entry of `row_episodes` (int64 [N]) is one of `episodes`.
/// Split rows for fitting and for judging by episode: neighbouring frames are nearly equal, so that
/// a split by rows would leak.
FORESIGHT_API Tensor rows_of_episodes(const Tensor& row_episodes,
                                      const std::vector<int64_t>& episodes);

/// NaN becomes null.
FORESIGHT_API nlohmann::json to_json(const ProbeReport& report);

}  // namespace foresight::eval
