// SPDX-License-Identifier: Apache-2.0
// Shifting what a planner remembers: its mean, whose free end is its prior, and the rows of plans
// that ended.
#pragma once

#include "foresight/planning/problem.hpp"

namespace foresight::detail {

/// advance_plan() of a mean [B,h,A] whose end under Tail::prior is the prior mean (values as in
/// SamplingOptions::initial_mean) also where blocks were executed in part. Beyond the end of a plan
/// its row is the prior mean under any tail rule: see Planner::advance().
Tensor advance_mean(const Tensor& plan, const std::vector<int64_t>& raw_steps, int64_t block,
                    Tail tail, const std::vector<double>& prior);

/// `value` [B,...], but `fresh` for the problems whose plans of `length` raw actions end before
/// `raw_steps`.
Tensor renewed(const Tensor& value, const Tensor& fresh, const std::vector<int64_t>& raw_steps,
               int64_t length);

}  // namespace foresight::detail
