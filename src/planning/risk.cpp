// SPDX-License-Identifier: Apache-2.0
#include "foresight/planning/risk.hpp"

#include <cmath>

namespace foresight {
namespace {

// Weight i of the i-th worst particle is clamp(tail * M - i, 0, 1) / (tail * M).
Tensor tail_mean(const Tensor& costs, double tail) {
  const auto mass = tail * static_cast<double>(costs.size(-1));
  constexpr double kRounding = 1e-9;  // 0.3 * 10 is not 3
  const auto counted = std::max<int64_t>(1, static_cast<int64_t>(std::ceil(mass - kRounding)));
  const auto worst = std::get<0>(costs.topk(counted));
  if (counted == 1) return worst.squeeze(-1);
  const auto whole = static_cast<double>(counted - 1);
  const auto last = (mass - whole) / mass;
  return worst.narrow(-1, 0, counted - 1).sum(-1) / mass + worst.select(-1, counted - 1) * last;
}

}  // namespace

std::vector<std::string> RiskOptions::validate() const {
  Rules rules("RiskOptions");
  rules.check(constraints != RiskMeasure::none, "constraints", enum_name(constraints),
              "must be mean, worst_case, cvar or entropic");
  rules.check(tail > 0 && tail <= 1, "tail", tail, "must be in (0, 1]");
  rules.check(std::isfinite(aversion) && aversion != 0, "aversion", aversion,
              "must be finite and not 0 (the limit at 0 is the measure mean)");
  rules.check(particles >= 1, "particles", static_cast<double>(particles), "must be >= 1");
  rules.check(particles == 1 || measure != RiskMeasure::none, "particles",
              static_cast<double>(particles), "needs a measure other than none");
  return rules.problems();
}

Tensor risk_of(const Tensor& costs, RiskMeasure measure, const RiskOptions& options) {
  require(costs.defined() && costs.dim() >= 1 && costs.size(-1) >= 1,
          ErrorCategory::invalid_argument, "risk_of needs costs [...,M] of at least one particle");
  switch (measure) {
    case RiskMeasure::mean:
      return costs.mean(-1);
    case RiskMeasure::worst_case:
      return costs.amax(-1);
    case RiskMeasure::cvar:
      return tail_mean(costs, options.tail);
    case RiskMeasure::entropic: {
      const auto count = static_cast<double>(costs.size(-1));
      return (at::logsumexp(options.aversion * costs, -1) - std::log(count)) / options.aversion;
    }
    case RiskMeasure::none:
      break;
  }
  throw Error(ErrorCategory::invalid_argument,
              "risk_of: RiskMeasure::none makes no number of several costs");
}

}  // namespace foresight
