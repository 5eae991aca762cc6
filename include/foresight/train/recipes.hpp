// SPDX-License-Identifier: Apache-2.0
// How each family was trained where it was published, as options of the trainer. Rates belong to
// the batch sizes named: scale them with yours. Precision is left at float32; the presets that are
// whole published recipes, batch size and all, set the published one (train/learn_family.hpp).
#pragma once

#include "foresight/train/trainer.hpp"

namespace foresight::train {

/// LeWM (arXiv 2603.19312), and PLDM as trained beside it: AdamW 5e-5, decay 1e-3 on everything,
/// clipped at 1; 1 % linear warm-up from 0, cosine to 0. Batch 128.
FORESIGHT_API TrainOptions lewm_training(int64_t steps);

/// DINO-WM (arXiv 2411.04983, its code): AdamW 5e-4 with torch's decay 1e-2, constant, no clipping.
/// Batch 32, 100 epochs.
FORESIGHT_API TrainOptions dino_wm_training(int64_t steps);

/// V-JEPA 2 pre-training (arXiv 2506.09985), main phase: AdamW 5.25e-4 with decay 0.04 on matrices,
/// no clipping; the first 1/20 of the steps from 1e-4, then constant. Batch 3072 clips; target
/// momentum 0.99925 (MaskedVideoOptions). Published: 40 of 800 epochs of 300 steps warm up.
FORESIGHT_API TrainOptions vjepa2_training(int64_t steps);

/// V-JEPA 2's cool-down after it: the rate falls linearly from 5.25e-4 towards 1e-6, a fifth of the
/// way short of it, as published: the last step's is 1.06e-4. Published: 12000 steps of 64 frames.
FORESIGHT_API TrainOptions vjepa2_cool_down(int64_t steps);

/// V-JEPA 2-AC (section 3): AdamW 4.25e-4 with decay 0.04 on matrices, no clipping; 15 of 315
/// epochs up from 7.5e-5, constant, 15 epochs down to 0. Batch 256.
FORESIGHT_API TrainOptions vjepa2_ac_training(int64_t steps);

/// Attentive probes of V-JEPA 2 (arXiv 2506.09985, its code): AdamW with decay on everything, no
/// warm-up, cosine to 0, no clipping. Batch 256, 20 epochs. Published are twenty probes, rates of
/// 1e-4 to 5e-3 times decays of 0.01 to 0.8, of which the best counts; this is the rate in the
/// middle, 1e-3, with the least decay, 0.01.
FORESIGHT_API TrainOptions vjepa2_probe_training(int64_t steps);

/// I-JEPA (arXiv 2301.08243, appendix): AdamW, 15 of 300 epochs up from 1e-4 to 1e-3, cosine to
/// 1e-6; decay on matrices from 0.04 linearly to 0.4; no clipping. Batch 2048. The target's
/// momentum goes from 0.996 to 1: set IJepaOptions.momentum_steps to the same `steps`.
FORESIGHT_API TrainOptions ijepa_training(int64_t steps);

/// LeJEPA (arXiv 2511.08544): AdamW 5e-4, decay 5e-2, 10 % linear warm-up, cosine to a thousandth.
/// Batch 512.
FORESIGHT_API TrainOptions lejepa_training(int64_t steps);

}  // namespace foresight::train
