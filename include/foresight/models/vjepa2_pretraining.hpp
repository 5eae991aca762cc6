// SPDX-License-Identifier: Apache-2.0
// How V-JEPA 2 learns: the predictor must give, from the visible tokens, what a slowly moving copy
// of the encoder says about the hidden ones (arXiv 2506.09985, section 2).
#pragma once

#include <vector>

#include "foresight/losses/terms.hpp"
#include "foresight/models/multiblock_masks.hpp"
#include "foresight/models/vjepa2.hpp"

namespace foresight::models {

/// Clips of one length and the masks they are learned with, e.g. one short-range and one
/// long-range.
struct MaskedClips {
  Tensor clips;  ///< [B,3,T,h,w]
  std::vector<TokenMasks> masks;
};

/// The targets: the target encoder's tokens of the whole clip, normalised over channels without
/// weights, [B,n,D]. No gradient.
FORESIGHT_API Tensor masked_targets(const nn::VideoVit& target, const Tensor& clips);

/// One term, "masked_prediction": mean over all (length, mask) pairs of mean |z - h|^exponent /
/// exponent, z the prediction and h the target at the hidden places. The mask token is chosen by
/// the number of the length group, as in the reference. Gradient to `model` only.
FORESIGHT_API losses::Terms masked_prediction_loss(const VJepa2& model, const nn::VideoVit& target,
                                                   const std::vector<MaskedClips>& groups,
                                                   double exponent = 1.0);

}  // namespace foresight::models
