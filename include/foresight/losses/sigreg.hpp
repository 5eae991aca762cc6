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

/// Where the knots of the quadrature lie.
enum class KnotRange {
  folded,  ///< [0, t_max], every knot standing for both signs
  whole,   ///< [-t_max, t_max]
};
/// What the statistic is multiplied with.
enum class StatisticScale {
  samples,  ///< B, as the Epps-Pulley test has it
  one,      ///< nothing: independent of the batch size
};

/// Defaults are LeWM's.
struct FORESIGHT_API SigRegOptions {
  int64_t projections = 1024;  ///< M, random directions, drawn anew at every call
  int64_t knots = 17;          ///< K, quadrature points of the characteristic function
  double t_max = 3.0;          ///< knots are spread evenly up to it
  KnotRange range = KnotRange::folded;
  StatisticScale scale = StatisticScale::samples;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("projections", self.projections, "random directions, drawn anew at every call");
    visit("knots", self.knots, "quadrature points of the characteristic function");
    visit("t_max", self.t_max, "knots are spread evenly up to it");
    visit("range", self.range, "of the knots: folded is [0, t_max], whole is [-t_max, t_max]");
    visit("scale", self.scale, "factor of the statistic: samples or one");
  }
  std::vector<std::string> validate() const;

  /// Algorithm 1 of LeJEPA (arXiv 2511.08544): 256 directions, 17 knots over [-5, 5].
  static SigRegOptions lejepa();
  /// EB-JEPA's batched characteristic slicing: 256 directions, 10 knots over [-3, 3], no factor.
  static SigRegOptions bcs();
};

/// Trapezoid rule of the statistic: knots t_j, the standard normal's characteristic function
/// exp(-t_j^2/2), and weights w_j = (dt/2, dt, ..., dt, dt/2) exp(-t_j^2/2), twice that where the
/// negative half of the axis is folded in. [K] each.
struct Quadrature {
  Tensor knots, gaussian, weights;
};
FORESIGHT_API Quadrature sigreg_quadrature(const SigRegOptions& options,
                                           const at::TensorOptions& tensor_options = {});

/// Mean over T and M of B sum_j w_j [(mean_B cos(t_j h) - exp(-t_j^2/2))^2 + (mean_B sin(t_j h))^2]
/// with h = z A. z [T,B,D]: every time step is its own sample of size B. `directions` A [D,M] need
/// not be normalised. A scalar in z's dtype, at least float32. (StatisticScale::one: without the
/// factor B.) In a ReplicaScope the means are over all replicas' rows and B is their number, as in
/// LeJEPA's distributed form; `directions` must then be the same everywhere.
FORESIGHT_API Tensor sigreg_along(const Tensor& z, const Tensor& directions,
                                  const SigRegOptions& options);

/// sigreg_along() fresh standard normal directions, one draw [D, projections] in at least float32.
FORESIGHT_API Tensor sigreg(const Tensor& z, const SigRegOptions& options, Noise& noise);

}  // namespace foresight::losses

template <>
struct foresight::EnumNames<foresight::losses::KnotRange> {
  using E = foresight::losses::KnotRange;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"folded", E::folded}, {"whole", E::whole}}};
};
template <>
struct foresight::EnumNames<foresight::losses::StatisticScale> {
  using E = foresight::losses::StatisticScale;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"samples", E::samples}, {"one", E::one}}};
};
