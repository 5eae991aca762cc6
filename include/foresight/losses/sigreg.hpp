// SPDX-License-Identifier: Apache-2.0
// SIGReg: pulls the distribution of latents towards an isotropic Gaussian, so that they cannot
// collapse (LeJEPA, arXiv 2511.08544; here with the constants of LeWM, arXiv 2603.19312). By Cramer
// and Wold a distribution is Gaussian if all its one-dimensional projections are; each random
// projection is tested with the Epps-Pulley statistic, a weighted distance between characteristic
// functions.
#pragma once

#include <string>
#include <vector>

#include "foresight/core/noise.hpp"
#include "foresight/core/options.hpp"

namespace foresight::losses {

struct FORESIGHT_API SigRegOptions {
  int64_t projections = 1024;  ///< M, random directions, drawn anew at every call
  int64_t knots = 17;          ///< K, quadrature points of the characteristic function
  double t_max = 3.0;          ///< knots are spread evenly over [0, t_max]

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("projections", self.projections, "random directions, drawn anew at every call");
    visit("knots", self.knots, "quadrature points of the characteristic function");
    visit("t_max", self.t_max, "knots are spread evenly over [0, t_max]");
  }
  std::vector<std::string> validate() const;
};

/// Quadrature of the statistic: knots t_j, the standard normal's characteristic function
/// exp(-t_j^2/2), and weights w_j = (dt, 2dt, ..., 2dt, dt) exp(-t_j^2/2); the factor 2 folds the
/// negative half of the axis in. [K] each.
struct Quadrature {
  Tensor knots, gaussian, weights;
};
FORESIGHT_API Quadrature sigreg_quadrature(const SigRegOptions& options,
                                           const at::TensorOptions& tensor_options = {});

/// Mean over T and M of B sum_j w_j [(mean_B cos(t_j h) - exp(-t_j^2/2))^2 + (mean_B sin(t_j h))^2]
/// with h = z A. z [T,B,D]: every time step is its own sample of size B. `directions` A [D,M] need
/// not be normalised. A scalar in z's dtype.
FORESIGHT_API Tensor sigreg_along(const Tensor& z, const Tensor& directions,
                                  const SigRegOptions& options);

/// sigreg_along() fresh standard normal directions, one draw [D, projections].
FORESIGHT_API Tensor sigreg(const Tensor& z, const SigRegOptions& options, Noise& noise);

}  // namespace foresight::losses
