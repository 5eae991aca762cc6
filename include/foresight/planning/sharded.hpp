// SPDX-License-Identifier: Apache-2.0
// One large planning problem on several machines: each evaluates a part of the candidates, all see
// all costs, and so all search alike and end with the same plan.
#pragma once

#include <memory>

#include "foresight/core/replicas.hpp"
#include "foresight/planning/problem.hpp"

namespace foresight {

/// `problem`, of whose candidates [B,S,H,A] each replica evaluates S/count(); costs, terms,
/// constraints and, where they are asked for, gradients of the others are fetched. The planner
/// itself runs everywhere: all replicas must call this together and then solve the same problem
/// with the same planner and noise of the same seed. The plan is that of one process up to the
/// rounding of differently sized matrix products; a stochastic model sees other draws. Where the
/// cost function throws in one replica, it throws in all.
///
/// Deadline: rank 0's, by rank 0's clock, which the others are told each time they look, one
/// exchange each (about five an iteration). So all stop after the same iteration; when a replica is
/// gone, the others go by their own clock and the next cost throws.
///
/// Gradients: as a gradient planner asks for them, of one and the same function of the costs in
/// every replica; not of second order.
///
/// Throws Error(invalid_argument) for null replicas, and if some have a deadline and others none.
FORESIGHT_API Problem shard_candidates(Problem problem, std::shared_ptr<const Replicas> replicas);

}  // namespace foresight
