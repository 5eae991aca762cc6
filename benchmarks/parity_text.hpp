// SPDX-License-Identifier: Apache-2.0
// What docs/parity.md says before its tables, and of whose numbers each is.
#pragma once

#include <algorithm>
#include <iterator>
#include <string>

namespace foresight::benchmark {

inline constexpr const char* kParityIntroduction =
    R"(<!-- Written by scripts/parity.sh: change that, or benchmarks/parity_table.cpp. -->
# Parity

How close foresight's numbers come to those of the implementations that it reproduces. Their numbers
are stored in fixtures: networks with small random weights, inputs, and what the original code made
of them. None is of a released checkpoint: none was at hand. A line is all tensors of one fixture
that were computed in one precision. The last two columns are of the tensor that came closest to its
tolerance: a test fails at 100 %. Relative errors leave out tensors that are zero but for rounding.
"Numbers" are the elements compared: where a test masks some of a tensor, the others.
Every tensor of a fixture but its inputs and weights is compared, or stands below the table with the
reason why not.

- **float32** is held to the fixture's own tolerance, which comes from how far the original's
  float32 and float64 runs lie apart; the rule stands below each table.
- **packed** is float32 as inference on a CPU computes it, with weights laid out for the processor
  (Jepa::pack()), held to float32's tolerance.
- **float64** is held to 1e-9 + 1e-8 of the value, far above double rounding and far below any
  mistake, where neither the fixture nor the test says anything else. What tests set by hand stands
  below each table with the reason: most often the original keeps a constant in float32 where all
  else is float64.
- **float64 beside float32 records** is our float64 run where the original's float32 run alone is
  recorded, held to float32's tolerance: the difference is the original's rounding.
- **bfloat16** computes with weights and activations of that type and is compared with the
  original's float64 run, or its float32 run where that is all there is. It has 8 significant bits,
  so that one rounding errs by up to 2^-8, in the root mean square by a root of 3 less. n roundings
  in sequence add up as their root, and 4 deviations hold for every element: 4 · 2^-8 · sqrt(n / 3)
  of the tensor's largest value, n counted from the network's depth and the steps imagined, 12 a
  transformer block. What is squared errs by twice its root's share: 4 n. Losses and gradients of
  training steps are computed under autocast, with weights in float32 (so is lewm_predictor_eps,
  whose scales bfloat16 cannot hold); n counts the backward pass as well, and, of LeWM and PLDM, the
  targets that are learned along and the activations that errors are multiplied with. Of networks
  and losses with kinks (EB-JEPA's ReLU, V-JEPA 2's absolute differences) the loss alone is
  compared: where rounding flips a sign, the gradient jumps. Of searches over a network it is the
  costs of the candidates that the original recorded: nothing is selected, because the last digits
  decide which candidates survive. The tolerance can be more than these costs differ by, so that
  they must also correlate with the recorded ones, by 0.9 or more: over the candidates of each
  iteration, or over the iterations of a gradient descent. "k of n" tensors: n of the fixture are
  compared in float32 or float64, k of them in bfloat16; why the others are not stands below the
  table. Without a row in bfloat16 are environments, masks, poses, schedules and what makes pictures
  and actions ready, all computed in float32 or wider; searches without a network of ours; DINO-WM's
  rounds of control, of which no cost is recorded, but plans and what came of them, which hang on
  what the search selects; and fixtures of losses alone: losses take latents of bfloat16 to float32
  before anything else, so that there is no computation in bfloat16 to compare.
- **fixed16** computes linear layers with integers of 16 bits (Jepa::fixed_point_copy()) and is
  compared in the same way. A number is rounded by up to sqrt(256) / (2 · 46330) = 1.7e-4 of the
  root mean square of its block of 256, so that the tolerance is 4 · 1.7e-4 · sqrt(n / 3) of the
  tensor's largest value, with the n of bfloat16.
- **integers** (masks, indices, counts, which steps met a wall) are the same.
- **pictures** are bytes that an environment draws: exp may differ in its last bit, so that a single
  pixel of each may be a grey level off.
- **sampled** are statistics of random trajectories, sixteen times as many as the original drew with
  its own random numbers: within the sampling error that the fixture states for its own, or two
  standard errors of it; statistics of single steps and turns, 90 times as many, within 0.005.

)";

/// Whether all of a source is reproduced, or some of its fixtures wait for it.
enum class Reproduced { whole, part };

/// A folder of fixtures: whose numbers they are. Folders that are not listed stand under their
/// name.
struct Source {
  const char* folder;
  const char* title;
  const char* text;
  Reproduced reproduced = Reproduced::whole;
};
inline constexpr Source kSources[] = {
    {"lewm", "LeWM, PLDM, PreJEPA",
     "stable-worldmodel: encoder, predictor, rollouts, costs, training steps, CEM."},
    {"dino_wm", "DINO-WM",
     "gaoyuezhou/dino_wm, and facebookresearch/dinov2 for the encoder: training steps, rollouts, "
     "objectives, planners."},
    {"hf", "Hugging Face",
     "transformers: ViT, I-JEPA, DINOv2, V-JEPA 2, read from folders as it writes them."},
    {"vjepa2", "V-JEPA 2 and V-JEPA 2-AC",
     "facebookresearch/vjepa2: masks, rotary attention, encoders, predictors, training steps, "
     "CEM."},
    {"eb_jepa", "eb_jepa", "facebookresearch/eb_jepa: networks, losses, environment, planners."},
    {"losses", "Losses", "stable-worldmodel and le-jepa: SIGReg, variance and covariance terms."},
    {"planners", "Planners", "stable-worldmodel's solvers, every iteration of a search."},
    {"mppi", "MPPI", "pytorch_mppi: MPPI, SMPPI and KMPPI, command by command."},
    {"tdmpc2", "TD-MPC2", "nicklashansen/tdmpc2: the planner, every iteration of a search.",
     Reproduced::part},
    {"world_models", "World Models",
     "the package cma: every generation of CMA-ES, with which World Models trains its controller.",
     Reproduced::part},
    {"dreamer", "Dreamer and PlaNet",
     "danijar/dreamerv3 and its predecessors: encoders and decoders, recurrent state-space models, "
     "losses, the optimiser.",
     Reproduced::part},
    {"mctx", "Tree search",
     "google-deepmind/mctx: the searches of MuZero, Gumbel MuZero and Stochastic MuZero, and their "
     "parts.",
     Reproduced::part}};

/// Null for a folder that is not listed.
inline const Source* source_of(const std::string& folder) {
  const auto* source = std::find_if(std::begin(kSources), std::end(kSources),
                                    [&](const Source& s) { return s.folder == folder; });
  return source == std::end(kSources) ? nullptr : source;
}

}  // namespace foresight::benchmark
