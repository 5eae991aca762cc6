// SPDX-License-Identifier: Apache-2.0
// Published planners as settings of the one sampling loop. Each function names every field in which
// planners differ, so that two presets can be compared line by line; change what you like in the
// returned struct.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "foresight/planning/sampling_options.hpp"

namespace foresight {

/// LeWM and stable-worldmodel: CEM 300 / 30 / 30 on normalised action blocks (arXiv 2603.19312).
FORESIGHT_API SamplingOptions lewm_cem();
/// stable-worldmodel's iCEM on the same budget: coloured noise, 5 kept elites, momentum 0.1,
/// clamped.
FORESIGHT_API SamplingOptions lewm_icem();
/// stable-worldmodel's MPPI: softmax over the 30 best, temperature 0.5.
FORESIGHT_API SamplingOptions lewm_mppi();
/// DINO-WM: CEM 300 / 30, 30 iterations for Push-T (10 for Wall and maze) (arXiv 2411.04983).
FORESIGHT_API SamplingOptions dino_wm_cem();
/// V-JEPA 2-AC: CEM 400 / 10 / 10 over dx, dy, dz and gripper, ActionSpace of 7 with rotation
/// pinned (Problem::pinned) and limits +-maxnorm, +-0.75 (arXiv 2506.09985).
FORESIGHT_API SamplingOptions vjepa2_ac_cem(double maxnorm = 0.075);
/// eb_jepa Two Rooms: CEM 200 / 20 / 20, std 1.5, radial bound 2.45.
FORESIGHT_API SamplingOptions eb_jepa_cem();
/// eb_jepa Two Rooms: MPPI 200 / 20 / 20; the temperature multiplies.
FORESIGHT_API SamplingOptions eb_jepa_mppi();
/// PLDM Two Rooms: MPPI of 2000 samples, covariance 12, radial bound 2.45 (arXiv 2502.14819; its
/// maze: 500 samples, covariance 5, temperature and control cost 0.0025). Its first plan of an
/// episode is noise; here it is the prior mean, unless a warm start says otherwise.
FORESIGHT_API SamplingOptions pldm();
/// TD-MPC2: MPPI 512 / 64 / 6 (8 iterations from 20 action dimensions on); policy rollouts enter as
/// Problem::proposals (arXiv 2310.16828).
FORESIGHT_API SamplingOptions tdmpc2(int64_t action_dim = 6);
/// PlaNet: CEM 1000 / 100 / 10, biased std (arXiv 1811.04551).
FORESIGHT_API SamplingOptions planet_cem();
/// iCEM as published (Pinneri et al., CoRL 2020): decaying population, elites kept and carried
/// over.
FORESIGHT_API SamplingOptions icem();
/// Information-theoretic MPPI: one iteration over all samples, fixed std, control cost.
FORESIGHT_API SamplingOptions mppi();
/// pytorch_mppi 0.9: mppi() with its default of 100 samples; control_cost equals the temperature.
FORESIGHT_API SamplingOptions pytorch_mppi();
/// Smooth MPPI (arXiv 2112.09988): samples rates; the natural choice under rate limits.
FORESIGHT_API SamplingOptions smppi();
/// Kernel MPPI: samples control points.
FORESIGHT_API SamplingOptions kmppi();
/// Predictive sampling (arXiv 2212.00541): keep the best of the last plan and noisy copies of it.
FORESIGHT_API SamplingOptions predictive_sampling();
/// Categorical CEM for discrete actions.
FORESIGHT_API SamplingOptions categorical_cem();

/// Names that sampling_preset() knows: those of the functions above, and `lewm`, `dino_wm` and
/// `vjepa2_ac` for the CEM of these projects.
FORESIGHT_API std::vector<std::string> sampling_preset_names();
/// A preset by name; an unknown one is an Error that suggests the nearest.
FORESIGHT_API SamplingOptions sampling_preset(std::string_view name);

}  // namespace foresight
