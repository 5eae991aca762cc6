// SPDX-License-Identifier: Apache-2.0
// How far does imagination stay true? The open-loop error of a world model after 1, 2, ... H
// imagined steps, beside the error of claiming that nothing changes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <vector>

#include "foresight/core/world_model.hpp"

namespace foresight::eval {

/// A batch of B held-out windows of `context` + H consecutive steps.
struct OpenLoopWindows {
  std::vector<Observation> observations;  ///< one per step, each of batch B
  Tensor actions;  ///< [B, steps-1, A] normalised blocks; block t leads from step t to t+1
};

/// Errors per horizon step h = 1..H, averaged over windows, tokens and channels. Latents have no
/// unit, so that only the ratios compare models: to copying the last state, or to the spread of the
/// latents.
struct OpenLoopReport {
  int64_t windows = 0;
  int64_t context = 0;
  std::vector<double> model_mse;  ///< imagined against observed latent [H]
  std::vector<double> copy_mse;   ///< last observed latent against the later ones [H]
  std::vector<double>
      ratio;  ///< model_mse / copy_mse [H]; below 1: better than no model. NaN for 0/0
  double latent_variance =
      0;  ///< mean variance of the observed target latents over all windows and steps
};

/// Accumulates windows batch by batch, so that a whole data set fits in memory.
class FORESIGHT_API OpenLoopError {
 public:
  /// `context` steps are observed, then `horizon` steps are imagined. Both >= 1.
  OpenLoopError(int64_t context, int64_t horizon);

  /// Adds windows of context + horizon steps. The target of step h is the latent that the model
  /// itself reports once it has observed the true frames up to there (ModelSpec::imagined's first
  /// field). Actions go to the model's device. Throws Error on windows of another length or shape,
  /// and on non-finite latents.
  void add(const WorldModel& model, const OpenLoopWindows& windows, Noise& noise);

  /// Throws Error(invalid_argument) if nothing was added.
  OpenLoopReport report() const;

 private:
  int64_t context_, horizon_;
  int64_t windows_ = 0;
  int64_t values_ = 0;           // latent elements per window and step
  Tensor model_sum_, copy_sum_;  // squared errors, double [H]
  Tensor sum_, square_sum_;      // of the targets, double [P*D]
};

/// NaN becomes null.
FORESIGHT_API nlohmann::json to_json(const OpenLoopReport& report);

}  // namespace foresight::eval
