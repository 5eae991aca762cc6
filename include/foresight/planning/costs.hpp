// SPDX-License-Identifier: Apache-2.0
// The planner's whole view of the world: candidates in, costs out.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/export.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight {

/// Named tensors that share their leading axes, in the order in which they were added.
using Terms = std::vector<std::pair<std::string, Tensor>>;

/// The tensor called `name`, or an undefined one.
FORESIGHT_API Tensor find_term(const Terms& terms, std::string_view name);

/// What a batch of candidates costs. Lower is better; a return enters as its negative.
struct Costs {
  Tensor total;       ///< [B,S], what is minimised
  Terms terms;        ///< [B,S] each, weighted: they add up to `total`. May be empty
  Tensor constraint;  ///< [B,S,C], satisfied where <= 0; undefined: unconstrained
};

/// How far the worst of C constraints is broken: [...,C] -> [...], 0 where all are met; NaN counts
/// as +infinity. Of Plan::constraint it is a figure per problem, and a problem is feasible where it
/// is 0. Undefined (unconstrained) stays undefined.
FORESIGHT_API Tensor worst_violation(const Tensor& constraint);

/// Candidates [B,S,H,A] in, costs out. S may change from call to call.
using CostFunction = std::function<Costs(const Tensor& actions)>;

/// The same cost, evaluated on at most `max_candidates` candidates of each problem at a time, so
/// that memory is bounded. The result is that of one call up to the rounding of differently sized
/// matrix products; a stochastic model sees its draws in another order. 0: no limit.
FORESIGHT_API CostFunction in_slices(CostFunction cost, int64_t max_candidates);

/// Throws Error(invalid_argument) unless total is floating [B,S], every term is [B,S] and
/// constraint is [B,S,C].
FORESIGHT_API void check_costs(const Costs& costs, int64_t batch, int64_t samples);

}  // namespace foresight
