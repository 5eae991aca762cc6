// SPDX-License-Identifier: Apache-2.0
// The update policy of a sampling planner: which candidates shape the next distribution, and with
// what weight.
#pragma once

#include <memory>

#include "foresight/planning/sampling_options.hpp"

namespace foresight {

/// Costs as an update may rank them.
struct Ranking {
  Tensor cost;       ///< [B,S], never NaN; +infinity marks unusable candidates
  Tensor violation;  ///< [B,S] >= 0, 0 = feasible; undefined: unconstrained
};

/// The candidates that survive one iteration.
struct Selection {
  Tensor index;   ///< int64 [B,K], best first; undefined: all S candidates in their own order
  Tensor weight;  ///< [B,K] or [B,S], >= 0, rows sum to 1; all zero where no candidate has a finite
                  ///< cost
  Tensor cost;    ///< [B,K] or [B,S], the costs that belong to the weights
  Tensor any;     ///< bool [B,1], some weight is positive
  Tensor concentration;  ///< [B,1], sum of squared weights: 1 / effective number of samples
};

/// Turns costs into survivors. Must be free of host reads.
class FORESIGHT_API Update {
 public:
  virtual ~Update() = default;
  /// `survivors`: K wanted, 0 for all. Constraints rank lexicographically: feasible before
  /// infeasible, infeasible by violation.
  virtual Selection select(const Ranking& ranking, int64_t survivors) const = 0;
};

/// The K best count equally; K = 1 is arg-min (the first of equal costs).
class FORESIGHT_API UniformUpdate final : public Update {
 public:
  Selection select(const Ranking& ranking, int64_t survivors) const override;
};

/// Weights exp(-(cost - min) / temperature) over the K best or all.
class FORESIGHT_API SoftmaxUpdate final : public Update {
 public:
  SoftmaxUpdate(double temperature, TemperatureRule rule)
      : temperature_(temperature), rule_(rule) {}
  Selection select(const Ranking& ranking, int64_t survivors) const override;

 private:
  double temperature_;
  TemperatureRule rule_;
};

FORESIGHT_API std::shared_ptr<const Update> make_update(const SamplingOptions& options);

}  // namespace foresight
