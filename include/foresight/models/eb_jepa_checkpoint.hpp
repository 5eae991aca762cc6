// SPDX-License-Identifier: Apache-2.0
// EB-JEPA's own checkpoints (facebookresearch/eb_jepa, ac_video_jepa): their state dict holds the
// norm that encoder and predictor share under both names, and names carry "_orig_mod." where the
// model was compiled.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "foresight/io/safetensors.hpp"
#include "foresight/models/eb_jepa.hpp"

namespace foresight::models {

/// The state dict of such a checkpoint file, beside those of optimiser and probe.
inline constexpr const char* kEbJepaGroup = "model_state_dict";

/// A checkpoint's key as eb_jepa_tensors() has it: without the marks of wrappers ("_orig_mod.",
/// "module."), which may stand before every module that was wrapped.
FORESIGHT_API std::string eb_jepa_key(std::string key);

/// Options of the model that `tensors` belong to: all sizes are read from shapes, but for the
/// picture's side, which is `base.image_size`; what shapes do not tell is `base`'s. What the
/// inverse-dynamics head reads behind a projector is told by its width, unless
/// `inverse_dynamics_view` says it. Throws Error, opening with `source`: bad_file for tensors that
/// are no EB-JEPA; invalid_option where that view must be given because both widths are equal.
FORESIGHT_API EbJepaOptions
eb_jepa_options(const io::NamedTensors& tensors, EbJepaOptions base, std::string_view source,
                std::optional<losses::LatentView> inverse_dynamics_view = std::nullopt);

/// Copies a checkpoint's tensors into `model`. Strict: throws Error(bad_file) as
/// nn::load_state_dict() does, also where the two copies of the shared norm differ, and changes
/// nothing then.
FORESIGHT_API void load_eb_jepa(EbJepa& model, const io::NamedTensors& tensors,
                                std::string_view source);

/// The model's tensors under upstream's names, the shared norm twice; they share memory with
/// `model`.
FORESIGHT_API io::NamedTensors eb_jepa_tensors(const EbJepa& model);

}  // namespace foresight::models
