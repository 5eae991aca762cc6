// SPDX-License-Identifier: Apache-2.0
// Losses of two views of the same things (two augmentations, two sensors): their embeddings agree,
// and neither collapses. Embeddings [N,D] each; N samples.
#pragma once

#include "foresight/losses/sigreg.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/losses/vicreg.hpp"

namespace foresight::losses {

/// Weights of VICReg; the invariance has weight 1 as in EB-JEPA (the paper scales all by 25).
struct FORESIGHT_API VicregWeights {
  double std = 1.0;
  double cov = 80.0;  ///< EB-JEPA on CIFAR-10: 80 to 100
  double margin = 1.0;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("std", self.std, "weight: deviations of both views");
    visit("cov", self.cov, "weight: covariances of both views");
    visit("margin", self.margin, "deviation above which nothing is asked for");
  }
  std::vector<std::string> validate() const;
};

/// VICReg (arXiv 2105.04906): "invariance", the mean squared difference of the views; "std" and
/// "cov", each the sum over both views. Needs N >= 2, D >= 2.
FORESIGHT_API Terms vicreg(const Tensor& a, const Tensor& b, const VicregWeights& weights = {});

/// "invariance" and "sigreg", the mean over the views of sigreg_along() the same directions [D,M].
/// EB-JEPA's BCS with SigRegOptions::bcs() and weight 10.
FORESIGHT_API Terms invariance_and_sigreg(const Tensor& a, const Tensor& b,
                                          const Tensor& directions, double weight = 10.0,
                                          const SigRegOptions& options = SigRegOptions::bcs());

}  // namespace foresight::losses
