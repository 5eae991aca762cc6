// SPDX-License-Identifier: Apache-2.0
// Regions to keep out of or in: in coordinates that a probe reads, or in latent space itself. A
// region is a signed distance, so that shapes of one's own (an arm's reach, a learned boundary)
// serve as costs and constraints like the ones made here.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/planning/objective.hpp"

namespace foresight {

/// Points [...,N] -> [...]: how far outside of the region, negative inside.
using SignedDistance = std::function<Tensor(const Tensor& points)>;

/// The union of balls of one radius.
struct FORESIGHT_API Balls {
  std::vector<std::vector<double>> centres = {};  ///< N coordinates each
  double radius = 1.0;
  std::vector<std::string> validate() const;
};
FORESIGHT_API SignedDistance balls(const Balls& options);

/// Between two corners; infinite coordinates leave a side open.
struct FORESIGHT_API Box {
  std::vector<double> low = {};   ///< N coordinates
  std::vector<double> high = {};  ///< N coordinates
  std::vector<std::string> validate() const;
};
FORESIGHT_API SignedDistance box(const Box& options);

/// Within `radius` (Euclidean) of any of the embeddings [M,N], e.g. latents of pictures of what
/// must not happen.
FORESIGHT_API SignedDistance near_any(const Tensor& embeddings, double radius);

/// Every point but those of the region; points of any of the regions; points of all.
FORESIGHT_API SignedDistance outside_of(SignedDistance region);
FORESIGHT_API SignedDistance any_of(std::vector<SignedDistance> regions);
FORESIGHT_API SignedDistance all_of(std::vector<SignedDistance> regions);

/// Points [B,S,H,N] of a trajectory.
using PositionOf = std::function<Tensor(const Trajectory& trajectory)>;
/// An imagined field, flattened: [B,S,H,P,D] -> [B,S,H,P*D].
FORESIGHT_API PositionOf position_in(std::string field);
/// Some elements of the flattened field, in this order: the coordinates of an analytic model.
FORESIGHT_API PositionOf position_in(std::string field, std::vector<int64_t> elements);
/// What a probe reads from the flattened field: [...,P*D] -> [...,N].
FORESIGHT_API PositionOf probed(std::function<Tensor(const Tensor& latents)> probe,
                                std::string field = "latent");

/// As a cost, the sum over steps of the squared depth inside (keep_out) or distance outside
/// (keep_in): zero where the region is respected, with a gradient that leads back. As a constraint,
/// the largest over steps: satisfied where <= 0. Only imagined states are looked at, not the way
/// between them: enlarge a region by about half of a step's length.
FORESIGHT_API CostTerm keep_out(SignedDistance region, PositionOf position);
FORESIGHT_API CostTerm keep_in(SignedDistance region, PositionOf position);
FORESIGHT_API CostTerm keep_out_constraint(SignedDistance region, PositionOf position);
FORESIGHT_API CostTerm keep_in_constraint(SignedDistance region, PositionOf position);

}  // namespace foresight
