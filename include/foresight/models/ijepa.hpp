// SPDX-License-Identifier: Apache-2.0
// I-JEPA (arXiv 2301.08243): an image transformer whose features are learned by predicting, in
// feature space, hidden blocks of a picture from one large visible block. It is models::VJepa2 with
// one frame and fixed sine-cosine positions in encoder and predictor; these are its sizes. As a
// picture's feature the authors take the mean of its tokens, VJepa2::encode().mean(1). Training:
// train/ijepa_task.hpp.
#pragma once

#include "foresight/models/vjepa2.hpp"

namespace foresight::models {

/// ViT-H/14 at 224 pixels, an encoder of 630 million parameters (the table of positions, which is
/// fixed, not among them), as released for ImageNet-1k and ImageNet-22k; its predictor has 12
/// blocks of width 384.
FORESIGHT_API VJepa2Options ijepa_huge();
/// ViT-H/16 at 448 pixels, 631 million, as released for ImageNet-1k.
FORESIGHT_API VJepa2Options ijepa_huge_448();
/// ViT-g/16 at 224 pixels, 1011 million, as released for ImageNet-22k: 16 heads, where V-JEPA 2's
/// ViT-g has 22; its predictor has 16 blocks.
FORESIGHT_API VJepa2Options ijepa_giant();
/// 64-pixel pictures, 0.5 million parameters: trains on a CPU.
FORESIGHT_API VJepa2Options ijepa_tiny();

}  // namespace foresight::models
