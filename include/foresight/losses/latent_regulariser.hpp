// SPDX-License-Identifier: Apache-2.0
// What keeps the latents of a clip informative, as EB-JEPA combines it (arXiv 2602.03604, after
// PLDM, arXiv 2502.14819): variance and covariance over samples, slowness, and actions that can be
// read from two latents.
#pragma once

#include <functional>

#include "foresight/core/options.hpp"
#include "foresight/losses/terms.hpp"
#include "foresight/losses/vicreg.hpp"

namespace foresight::losses {

/// What counts as one sample of std and cov.
enum class SampleUnit {
  frame,  ///< all tokens of a frame together, P*D features
  token,  ///< every token, D features
};
/// Which frames of a clip std and cov look at.
enum class SampledFrames { all, first };
/// What a term looks at where the model has a projector.
enum class LatentView {
  direct,
  projected,
  projected_upstream,  ///< with the clips mixed up as EB-JEPA's code has it (966e61e): row b*T+t of
                       ///< the projection is taken for frame (b*T+t)/B of clip (b*T+t)%B. Only to
                       ///< reproduce its numbers
};

/// Weights and variants; a term of weight 0 is not computed. Defaults are EB-JEPA's for Two Rooms.
struct FORESIGHT_API LatentRegulariserOptions {
  double std = 16.0;
  double cov = 8.0;
  double temporal = 12.0;
  double inverse_dynamics = 1.0;
  double margin = 1.0;                            ///< deviation above which std is 0
  double variance_epsilon = kVarianceEpsilon;     ///< under the root of std
  SampleUnit samples = SampleUnit::frame;         ///< of std and cov
  SampledFrames frames = SampledFrames::all;      ///< of std and cov
  LatentView temporal_view = LatentView::direct;  ///< std and cov always look at projections
  LatentView inverse_dynamics_view = LatentView::direct;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("std", self.std, "weight: deviation over the samples");
    visit("cov", self.cov, "weight: covariance over the samples");
    visit("temporal", self.temporal, "weight: consecutive latents are close");
    visit("inverse_dynamics", self.inverse_dynamics, "weight: actions are readable from latents");
    visit("margin", self.margin, "deviation above which std is 0");
    visit("variance_epsilon", self.variance_epsilon, "under the root of std");
    visit("samples", self.samples, "of std and cov: frame or token");
    visit("frames", self.frames, "of std and cov: all or first");
    visit("temporal_view", self.temporal_view, "direct, projected or projected_upstream");
    visit("inverse_dynamics_view", self.inverse_dynamics_view,
          "direct, projected or projected_upstream");
  }
  std::vector<std::string> validate() const;
};

/// The parts of a model that the regulariser trains along.
struct RegulariserHeads {
  /// [...,D] -> [...,E], called once on all latents; empty: the latents themselves.
  std::function<Tensor(const Tensor& latents)> projector = {};
  /// [current | next] [B,T-1,2PD] -> blocks [B,T-1,A]; empty: no such term.
  std::function<Tensor(const Tensor& pairs)> inverse_dynamics = {};
};

/// Terms "cov", "std", "temporal" (clips of one frame: not there), "inverse_dynamics" (without
/// head or blocks: not there) of latents [B,T,P,D] and the blocks between them [B,T-1,A], which may
/// be undefined. At least two samples. Gradients flow into latents and blocks.
FORESIGHT_API Terms latent_regulariser(const Tensor& latents, const Tensor& blocks,
                                       const LatentRegulariserOptions& options,
                                       const RegulariserHeads& heads = {});

}  // namespace foresight::losses

template <>
struct foresight::EnumNames<foresight::losses::SampleUnit> {
  using E = foresight::losses::SampleUnit;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"frame", E::frame}, {"token", E::token}}};
};
template <>
struct foresight::EnumNames<foresight::losses::SampledFrames> {
  using E = foresight::losses::SampledFrames;
  static constexpr std::array<std::pair<std::string_view, E>, 2> names{
      {{"all", E::all}, {"first", E::first}}};
};
template <>
struct foresight::EnumNames<foresight::losses::LatentView> {
  using E = foresight::losses::LatentView;
  static constexpr std::array<std::pair<std::string_view, E>, 3> names{
      {{"direct", E::direct},
       {"projected", E::projected},
       {"projected_upstream", E::projected_upstream}}};
};
