// SPDX-License-Identifier: Apache-2.0
// Shifting a planner's mean, whose free end is its prior.
#pragma once

#include "foresight/planning/problem.hpp"

namespace foresight::detail {

/// advance_plan() of a mean [B,h,A] whose end under Tail::prior is the prior mean (values as in
/// SamplingOptions::initial_mean) also where blocks were executed in part.
Tensor advance_mean(const Tensor& plan, const std::vector<int64_t>& raw_steps, int64_t block,
                    Tail tail, const std::vector<double>& prior);

}  // namespace foresight::detail
