// SPDX-License-Identifier: Apache-2.0
// V-JEPA 2 from a bundle, for clips of another length than it was trained on.
#pragma once

#include <memory>

#include "foresight/core/options_json.hpp"
#include "foresight/models/vjepa2_bundle.hpp"
#include "foresight/train/learn_family.hpp"

namespace foresight::train {

/// The whole network, predictor included, for clips of `frames` where it takes any length
/// (takes_any_clip_length()); else for those of its training. Throws Error as read_vjepa2().
/// `placement`: of what is not trained, its weights may stay in the bundle's mapped file.
inline std::shared_ptr<models::VJepa2> model_of_clips(
    io::Bundle bundle, int64_t frames, io::Placement placement = io::Placement::copy) {
  if (bundle.config.family != models::kVJepa2Family) return models::read_vjepa2(bundle);
  models::VJepa2Options trained;
  read_options(trained, bundle.config.options, bundle.tensors.path().string());
  if (takes_any_clip_length(trained) && frames > 1)
    bundle.config.options["encoder"]["frames"] = frames;
  return models::read_vjepa2(bundle, placement);
}

}  // namespace foresight::train
