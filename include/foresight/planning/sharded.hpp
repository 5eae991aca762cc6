// SPDX-License-Identifier: Apache-2.0
// One large planning problem on several machines: each evaluates a part of the candidates, all see
// all costs, and so all search alike and end with the same plan.
#pragma once

#include <memory>

#include "foresight/core/replicas.hpp"
#include "foresight/planning/problem.hpp"

namespace foresight {

/// `problem`, of whose candidates [B,S,H,A] each replica evaluates S/count(); costs, terms and
/// constraints of the others are fetched. The planner itself runs everywhere: all replicas must
/// solve the same problem with the same planner and noise of the same seed. The plan is that of one
/// process up to the rounding of differently sized matrix products; a stochastic model sees other
/// draws. Where the cost function throws in one replica, it throws in all.
///
/// Throws Error(invalid_argument) for a problem with a deadline, since clocks differ and with them
/// the number of iterations. The cost throws Error(unsupported) when gradients are asked for.
FORESIGHT_API Problem shard_candidates(Problem problem, std::shared_ptr<const Replicas> replicas);

}  // namespace foresight
