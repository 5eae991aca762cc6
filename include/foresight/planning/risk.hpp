// SPDX-License-Identifier: Apache-2.0
// One number from the costs of several imagined futures of the same plan: how much the bad ones
// count.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight {

/// How the costs of a candidate's particles become its cost.
enum class RiskMeasure {
  none,        ///< terms see the candidate's own fields: of an ensemble, the mean of its particles
  mean,        ///< expected cost (PETS, arXiv 1805.12114)
  worst_case,  ///< the largest
  cvar,        ///< mean of the worst part of them (conditional value at risk, Rockafellar & Uryasev
               ///< 2000)
  entropic,  ///< log E exp(aversion * cost) / aversion: for Gaussian costs mean + aversion/2 * var
};

template <>
struct EnumNames<RiskMeasure> {
  static constexpr std::array<std::pair<std::string_view, RiskMeasure>, 5> names{
      {{"none", RiskMeasure::none},
       {"mean", RiskMeasure::mean},
       {"worst_case", RiskMeasure::worst_case},
       {"cvar", RiskMeasure::cvar},
       {"entropic", RiskMeasure::entropic}}};
};

struct FORESIGHT_API RiskOptions {
  RiskMeasure measure = RiskMeasure::none;  ///< of the cost
  /// Of constraints, once there is a measure of the cost. The worst case: every imagined future
  /// keeps them. cvar <= 0 implies that at most `tail` of the futures break one.
  RiskMeasure constraints = RiskMeasure::worst_case;
  double tail = 0.1;      ///< cvar: part of the particles that counts, in (0,1]
  double aversion = 1.0;  ///< entropic: per unit of cost; < 0 seeks risk
  int64_t particles = 1;  ///< rollouts of a stochastic model per candidate, each with its own
                          ///< draws. An ensemble's own particles multiply

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("measure", self.measure, "none, mean, worst_case, cvar or entropic");
    visit("constraints", self.constraints, "the same for constraints, not none");
    visit("tail", self.tail, "cvar: part of the particles that counts, in (0,1]");
    visit("aversion", self.aversion, "entropic: risk aversion per unit of cost; < 0 seeks risk");
    visit("particles", self.particles, "rollouts of a stochastic model per candidate");
  }
  std::vector<std::string> validate() const;
};

/// Costs of particles [...,M] -> [...]. Of M particles, cvar averages the worst tail * M, the last
/// of them in part where that is no whole number: the exact value for the empirical distribution. A
/// NaN among the particles makes the result NaN. Differentiable. Throws Error(invalid_argument) for
/// RiskMeasure::none, which is not a number.
FORESIGHT_API Tensor risk_of(const Tensor& costs, RiskMeasure measure, const RiskOptions& options);

}  // namespace foresight
