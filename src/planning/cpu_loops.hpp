// SPDX-License-Identifier: Apache-2.0
// The arithmetic of a sampling search as plain loops. A search handles tensors of a few thousand
// numbers, for which a tensor operation costs more to set up and to broadcast than to compute. Each
// function takes the loops where its tensors lie contiguous on the CPU in float or double, and the
// same formula in tensor operations everywhere else; the tests compare the two.
#pragma once

#include "foresight/planning/update.hpp"

namespace foresight::detail {

/// mean + draws * std: [B,L,A], [1 or B,S,L,A], [B,L,A] -> [B,S,L,A].
Tensor spread_around(const Tensor& mean, const Tensor& draws, const Tensor& std);

/// Values [...,A] brought within low and high [A], where they lie; NaN stays NaN.
void clamp_rows(Tensor& values, const Tensor& low, const Tensor& high);

enum class Deviation { plain, absolute };
/// sum over L and A of (values - centre) * weight, or of |values - centre| * weight: [B,S,L,A],
/// [B,L,A], [B,L,A] -> [B,S].
Tensor weighted_deviation(const Tensor& values, const Tensor& centre, const Tensor& weight,
                          Deviation deviation);

/// Weighted mean over candidates: [B,K,...], [B,K] -> [B,...]. Candidates of weight 0 do not count,
/// whatever they are.
Tensor weighted_mean(const Tensor& values, const Tensor& weight);
/// Weighted mean of the squared distance to `centre` [B,...].
Tensor weighted_variance(const Tensor& values, const Tensor& weight, const Tensor& centre);

/// Weights exp(-factor * (cost - min)), normalised; concentration and `any` of the Selection.
/// Infinite costs weigh nothing.
void softmax_weights(const Tensor& cost, double factor, Selection& selection);

/// total + control [B,S], where whatever is not finite is infinity; `control` may be undefined.
Tensor ranked_costs(const Tensor& total, const Tensor& control);

/// sum over candidates of cost * weight: [B,K], [B,K] -> [B]. Infinite costs have no weight.
Tensor weighted_cost(const Tensor& cost, const Tensor& weight);

/// int64 [B]: how many numbers of the row [B,S] are infinite.
Tensor infinite_count(const Tensor& values);

/// Mean of each row: [B,L,A] -> [B].
Tensor row_mean(const Tensor& values);

/// Rows [B,...] of `yes` where `condition` [B,1] holds, of `no` elsewhere.
Tensor rows_where(const Tensor& condition, const Tensor& yes, const Tensor& no);

/// bool [B]: every number of the row is finite.
Tensor finite_rows(const Tensor& values);

/// [B,S,...] at [B,K] -> [B,K,...].
Tensor rows_at(const Tensor& values, const Tensor& index);

}  // namespace foresight::detail
