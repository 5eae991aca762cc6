// SPDX-License-Identifier: Apache-2.0
// CMA-ES: evolution of a Gaussian whose mean, step size and covariance follow what ranked well
// (Hansen, "The CMA Evolution Strategy: A Tutorial", arXiv:1604.00772). `CmaEs` is the bare update
// by ask and tell, for any minimisation; planning/cma_es_planner.hpp plans with it.
#pragma once

#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight {

/// What is adapted.
enum class CmaCovariance {
  full,       ///< all n(n+1)/2 entries: finds correlated directions, O(n^3) per decomposition
  separable,  ///< the diagonal, with a learning rate larger by (n+2)/3 (Ros and Hansen, PPSN 2008):
              ///< O(n), for hundreds of variables and more
};
/// How a full covariance C = A A' is taken apart to draw samples A z.
enum class CmaFactor {
  cholesky,  ///< lower triangular A (Krause, Arbones and Igel, NIPS 2016): cheaper, no host read
  eigen,     ///< A = B D of the eigendecomposition, as in the tutorial. Torch reads its error code
             ///< on the host once a decomposition
};
/// Whose strategy constants.
enum class CmaConstants {
  tutorial,  ///< arXiv:1604.00772v2, table 1
  pycma,     ///< the Python package cma 4: faster step-size adaptation, damping for large
             ///< populations, slower rank-one learning below 6 samples
};
/// Whether the worse half of a population counts.
enum class CmaWeights {
  active,    ///< with negative weights in the covariance (active CMA)
  positive,  ///< not at all
};

template <>
struct EnumNames<CmaCovariance> {
  static constexpr std::array<std::pair<std::string_view, CmaCovariance>, 2> names{
      {{"full", CmaCovariance::full}, {"separable", CmaCovariance::separable}}};
};
template <>
struct EnumNames<CmaFactor> {
  static constexpr std::array<std::pair<std::string_view, CmaFactor>, 2> names{
      {{"cholesky", CmaFactor::cholesky}, {"eigen", CmaFactor::eigen}}};
};
template <>
struct EnumNames<CmaConstants> {
  static constexpr std::array<std::pair<std::string_view, CmaConstants>, 2> names{
      {{"tutorial", CmaConstants::tutorial}, {"pycma", CmaConstants::pycma}}};
};
template <>
struct EnumNames<CmaWeights> {
  static constexpr std::array<std::pair<std::string_view, CmaWeights>, 2> names{
      {{"active", CmaWeights::active}, {"positive", CmaWeights::positive}}};
};

/// The forms of CMA-ES.
struct FORESIGHT_API CmaForm {
  CmaCovariance covariance = CmaCovariance::full;
  CmaFactor factor = CmaFactor::cholesky;
  CmaConstants constants = CmaConstants::tutorial;
  CmaWeights weights = CmaWeights::active;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("covariance", self.covariance, "full, or its diagonal for many variables");
    visit("factor", self.factor, "how a full covariance is taken apart");
    visit("constants", self.constants, "strategy constants of the tutorial or of the package cma");
    visit("weights", self.weights, "whether bad samples count against their directions");
  }
};

/// Strategy parameters for n variables and lambda samples; names as in the tutorial.
struct FORESIGHT_API CmaParameters {
  std::vector<double> weights;  ///< [lambda], best first; the positive ones sum to 1
  double mu_eff = 1;            ///< variance-effective selection mass of the positive weights
  double c_sigma = 0, d_sigma = 1;
  double c_c = 0, c_1 = 0, c_mu = 0;
  double chi_n = 1;  ///< E|N(0, I)|
  double stall = 0;  ///< the evolution path of C stalls where |p_sigma|^2, its start
                     ///< corrected, is not below this (h_sigma)
  int64_t generations_between_factors = 1;

  int64_t samples() const { return static_cast<int64_t>(weights.size()); }
};
/// Throws Error(invalid_argument) unless variables >= 1 and samples >= 2.
FORESIGHT_API CmaParameters cma_parameters(int64_t variables, int64_t samples,
                                           const CmaForm& form = {});
/// 4 + floor(3 ln n), the tutorial's population for n variables.
FORESIGHT_API int64_t cma_default_samples(int64_t variables);

/// B independent searches in n variables.
struct CmaState {
  Tensor mean;             ///< [B,n]
  Tensor sigma;            ///< [B,1], overall step size
  Tensor covariance;       ///< [B,n,n], or its diagonal [B,n]
  Tensor path_sigma;       ///< [B,n], evolution path of the step size
  Tensor path_covariance;  ///< [B,n], evolution path of the covariance
  Tensor factor;           ///< A with C = A A': [B,n,n], or [B,n]
  Tensor whitening;        ///< C^(-1/2) (eigen), A^-1 (cholesky) or 1/A: same shape
  int64_t generation = 0;  ///< tells so far
  int64_t factored = 0;    ///< generation of `factor`
};

/// The update, for one population size. Tensor operations only, no host read unless factor = eigen.
///
///   CmaEs search(cma_parameters(n, lambda), {}, at::zeros({1, n}), 0.5);
///   for (...) {
///     const auto x = search.ask(noise.normal({1, lambda, n}));
///     search.tell(sorted by cost(x));
///   }
class FORESIGHT_API CmaEs {
 public:
  /// Starts at `mean` [B,n] with covariance sigma^2 diag(variances); `variances` [n] defaults to
  /// ones.
  CmaEs(CmaParameters parameters, const CmaForm& form, const Tensor& mean, double sigma,
        const Tensor& variances = {});

  /// Standard normal draws [B or 1, lambda, n] -> samples mean + sigma A z, [B,lambda,n].
  Tensor ask(const Tensor& draws) const;
  /// Learns from samples [B,lambda,n] in ascending order of cost. They may differ from what ask()
  /// gave (clamped, injected). `usable` (bool [B,lambda], undefined: all) excludes the rest from
  /// the mean; a search without any usable sample stays as it is.
  void tell(const Tensor& ranked, const Tensor& usable = {});

  /// Shortens steps [B,K,n] from the mean that are longer, in units of the search distribution,
  /// than samples ever are: for injected samples, so that one of them cannot blow up the step size
  /// (Hansen, "Injecting external solutions into CMA-ES", arXiv:1110.4181).
  Tensor injectable(const Tensor& samples) const;

  /// Standard deviation of every variable, [B,n].
  Tensor std() const;
  const CmaParameters& parameters() const noexcept { return parameters_; }
  const CmaState& state() const noexcept { return state_; }
  /// Goes on from a saved state.
  void set_state(CmaState state) { state_ = std::move(state); }

 private:
  Tensor whitened(const Tensor& steps) const;  // [B,K,n]
  Tensor adapted_covariance(const Tensor& steps, const Tensor& positive, const Tensor& stalls,
                            const Tensor& path) const;
  void refactor();

  CmaParameters parameters_;
  CmaForm form_;
  Tensor weights_;  // [lambda]
  CmaState state_;
};

}  // namespace foresight
