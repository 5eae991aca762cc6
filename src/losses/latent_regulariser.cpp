// SPDX-License-Identifier: Apache-2.0
#include "foresight/losses/latent_regulariser.hpp"

#include <cmath>

#include "foresight/core/error.hpp"
#include "foresight/losses/inverse_dynamics.hpp"
#include "foresight/losses/prediction.hpp"
#include "foresight/losses/temporal.hpp"

namespace foresight::losses {
namespace {

// [B,T,P,D] -> samples of one time step [N,1,F], as std and cov take them.
Tensor regularised_samples(const Tensor& latents, const LatentRegulariserOptions& options) {
  const auto frames = options.frames == SampledFrames::first ? latents.narrow(1, 0, 1) : latents;
  const int64_t first_feature = options.samples == SampleUnit::frame ? 2 : 3;
  return frames.flatten(first_feature).flatten(0, first_feature - 1).unsqueeze(1);
}

// Rows [B,T,F] of clips, read as if they were rows [T,B,F] of frames.
Tensor clips_mixed_up(const Tensor& rows) {
  return rows.reshape({rows.size(1), rows.size(0), rows.size(2)}).transpose(0, 1);
}

}  // namespace

std::vector<std::string> LatentRegulariserOptions::validate() const {
  Rules rules("LatentRegulariserOptions");
  for (const auto& [name, value] : {std::pair{"std", std},
                                    {"cov", cov},
                                    {"temporal", temporal},
                                    {"inverse_dynamics", inverse_dynamics},
                                    {"margin", margin}})
    rules.check(std::isfinite(value) && value >= 0, name, value, "must be >= 0");
  rules.positive("variance_epsilon", variance_epsilon);
  return rules.problems();
}

Terms latent_regulariser(const Tensor& latents, const Tensor& blocks,
                         const LatentRegulariserOptions& options, const RegulariserHeads& heads) {
  require_valid(options);
  check_shape("latents", latents, {kAny, kAny, kAny, kAny}, "[B,T,P,D]");
  const bool several = latents.size(1) >= 2;
  if (blocks.defined())
    check_shape("blocks", blocks, {latents.size(0), latents.size(1) - 1, kAny}, "[B,T-1,A]");
  const auto projected = heads.projector ? heads.projector(latents) : latents;
  const auto flat = [&](LatentView view) {
    const auto seen = (view == LatentView::direct ? latents : projected).flatten(2);
    return view == LatentView::projected_upstream ? clips_mixed_up(seen) : seen;
  };
  const auto samples = regularised_samples(projected, options);
  Terms terms;
  if (options.cov != 0) terms.add("cov", options.cov, vicreg_cov(samples));
  if (options.std != 0)
    terms.add("std", options.std, vicreg_std(samples, options.variance_epsilon, options.margin));
  if (options.temporal != 0 && several)
    terms.add("temporal", options.temporal, temporal_similarity(flat(options.temporal_view)));
  if (options.inverse_dynamics != 0 && several && heads.inverse_dynamics && blocks.defined()) {
    const auto pairs =
        inverse_dynamics_input(flat(options.inverse_dynamics_view), PairOrder::current_first);
    terms.add("inverse_dynamics", options.inverse_dynamics,
              prediction(heads.inverse_dynamics(pairs), blocks));
  }
  return terms;
}

}  // namespace foresight::losses
