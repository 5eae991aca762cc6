// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/two_views.hpp"

#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/losses/prediction.hpp"

namespace foresight::losses {
namespace {

void check_views(const Tensor& a, const Tensor& b) {
  check_shape("first view", a, {kAny, kAny}, "[N,D]");
  check_shape("second view", b, a.sizes(), "the first view's shape");
}

}  // namespace

std::vector<std::string> VicregWeights::validate() const {
  Rules rules("VicregWeights");
  for (const auto& [name, value] : {std::pair{"std", std}, {"cov", cov}, {"margin", margin}})
    rules.check(std::isfinite(value) && value >= 0, name, value, "must be >= 0");
  return rules.problems();
}

Terms vicreg(const Tensor& a, const Tensor& b, const VicregWeights& weights) {
  require_valid(weights);
  check_views(a, b);
  const auto first = a.unsqueeze(1), second = b.unsqueeze(1);  // one time step
  Terms terms;
  terms.add("invariance", 1.0, prediction(a, b));
  terms.add("std", weights.std,
            vicreg_std(first, kVarianceEpsilon, weights.margin) +
                vicreg_std(second, kVarianceEpsilon, weights.margin));
  terms.add("cov", weights.cov, vicreg_cov(first) + vicreg_cov(second));
  return terms;
}

Terms invariance_and_sigreg(const Tensor& a, const Tensor& b, const Tensor& directions,
                            double weight, const SigRegOptions& options) {
  check_views(a, b);
  Terms terms;
  terms.add("invariance", 1.0, prediction(a, b));
  // Two time steps of N samples each: the statistic's mean over T is the mean over the views.
  terms.add("sigreg", weight, sigreg_along(at::stack({a, b}), directions, options));
  return terms;
}

}  // namespace foresight::losses
