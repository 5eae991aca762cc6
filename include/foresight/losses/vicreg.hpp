// SPDX-License-Identifier: Apache-2.0
// Variance and covariance regularisers against collapse (VICReg, arXiv 2105.04906), over the batch
// and over time as PLDM uses them (arXiv 2502.14819). Input [B,T,D]; the mean over the batch is
// subtracted first, per (t, d). In a ReplicaScope the batch is that of all replicas. Each result is
// a scalar with gradient. Where a statistic has fewer than two samples the function throws.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::losses {

/// Added to variances under the square root, PLDM's value.
inline constexpr double kVarianceEpsilon = 1e-4;

/// mean_t mean_d relu(margin - sqrt(var_B + eps)), unbiased variance over the batch. Needs B >= 2.
FORESIGHT_API Tensor vicreg_std(const Tensor& z, double epsilon = kVarianceEpsilon,
                                double margin = 1.0);

/// mean_t sum_{i != j} C_ij^2 / (D^2 - D), C = z_t' z_t / (B-1). Needs B >= 2, D >= 2.
FORESIGHT_API Tensor vicreg_cov(const Tensor& z);

/// As vicreg_std() with the roles of B and T exchanged: variance over time. Needs T >= 2.
FORESIGHT_API Tensor vicreg_std_t(const Tensor& z, double epsilon = kVarianceEpsilon);

/// As vicreg_cov() with the roles of B and T exchanged. Not centred over time again, as in PLDM.
/// Needs T >= 2, D >= 2.
FORESIGHT_API Tensor vicreg_cov_t(const Tensor& z);

}  // namespace foresight::losses
