// SPDX-License-Identifier: Apache-2.0
// DINOv2 (Oquab et al., arXiv 2304.07193; registers: Darcet et al., arXiv 2309.16588) as settings
// of nn::Vit. Weights in its own layout (torch.hub, "blocks.0.attn.qkv") and in Hugging Face's load
// through nn/vit_layouts.hpp.
#pragma once

#include "foresight/nn/vit.hpp"

namespace foresight::nn {

enum class DinoV2Size { small, base, large, giant };

/// Side of the pictures to which the released position tables belong, pixels.
inline constexpr int64_t kDinoV2ImageSize = 518;

/// Registers of the variants that have them.
inline constexpr int64_t kDinoV2Registers = 4;

/// ViT-S, B, L or g, patch 14, with `registers` register tokens: features as DINOv2's own code
/// computes them. Hugging Face's differ at other sizes than 518 pixels in the variant without
/// registers: PositionResize::bicubic_float instead of bicubic_offset.
FORESIGHT_API VitOptions dinov2(DinoV2Size size, int64_t registers = 0);

}  // namespace foresight::nn

template <>
struct foresight::EnumNames<foresight::nn::DinoV2Size> {
  using E = foresight::nn::DinoV2Size;
  static constexpr std::array<std::pair<std::string_view, E>, 4> names{
      {{"small", E::small}, {"base", E::base}, {"large", E::large}, {"giant", E::giant}}};
};
