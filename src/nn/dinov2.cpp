// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/dinov2.hpp"

namespace foresight::nn {

VitOptions dinov2(DinoV2Size size, int64_t registers) {
  VitOptions options{.patch = 14,
                     .norm_epsilon = 1e-6,
                     .registers = registers,
                     .layer_scale = true,
                     .mask_token = true,
                     .positions = registers > 0 ? PositionResize::bicubic_antialiased
                                                : PositionResize::bicubic_offset};
  const auto sizes = [&](int64_t width, int64_t depth, int64_t heads, int64_t mlp_width) {
    options.width = width;
    options.depth = depth;
    options.heads = heads;
    options.mlp_width = mlp_width;
  };
  switch (size) {
    case DinoV2Size::small:
      sizes(384, 12, 6, 1536);
      break;
    case DinoV2Size::base:
      sizes(768, 12, 12, 3072);
      break;
    case DinoV2Size::large:
      sizes(1024, 24, 16, 4096);
      break;
    case DinoV2Size::giant:
      sizes(1536, 40, 24, 4096);  // two thirds of 4 * 1536: SwiGLU has a third matrix
      options.gated = true;
      break;
  }
  require_valid(options);
  return options;
}

}  // namespace foresight::nn
