// SPDX-License-Identifier: Apache-2.0
// Two key layouts of the same network: transformers renamed the layers of ViTModel in version 5.9
// ("encoder.layer.0.attention.attention.query" -> "layers.0.attention.q_proj"). Shapes and values
// are unchanged.
#pragma once

#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight::nn {

/// A state-dict key in the older layout, which nn::Vit uses. A key of the older layout, or of
/// anything that is not a ViT layer, is returned unchanged. Works below any prefix.
FORESIGHT_API std::string older_hf_vit_key(std::string_view key);

/// The reverse: a key of the older layout in the newer one; any other is returned unchanged.
FORESIGHT_API std::string newer_hf_vit_key(std::string_view key);

}  // namespace foresight::nn
