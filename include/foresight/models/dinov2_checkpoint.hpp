// SPDX-License-Identifier: Apache-2.0
// DINOv2's own files, as torch.hub loads them (dinov2_vits14_pretrain.pth), from which DINO-WM
// takes its backbone.
#pragma once

#include <memory>
#include <string_view>

#include "foresight/io/load_tensors.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/vit.hpp"

namespace foresight::models {

/// The encoder of such a file, with or without registers, in float32, in inference mode. Sizes are
/// those of the tensors; heads are 64 wide, as in all published ones. Positions are resampled as
/// DINOv2's own code does: bicubic_offset, with registers bicubic_antialiased. Throws Error:
/// unsupported, opening with `source`, for another network's tensors, other pictures than RGB and a
/// width that is no multiple of 64; bad_file for missing, unexpected or misshaped tensors, before a
/// network of other sizes than theirs is made. With io::Placement::share float32 weights stay in
/// the file that they are mapped from.
FORESIGHT_API std::shared_ptr<nn::Vit> load_dinov2(const io::NamedTensors& checkpoint,
                                                   std::string_view source,
                                                   io::Placement placement = io::Placement::copy);

/// Pictures of DINOv2's published evaluations: ImageNet statistics, the shorter edge scaled to 256
/// pixels (bicubic), then the centre square of 224.
FORESIGHT_API ImageOptions dinov2_evaluation_pictures();

}  // namespace foresight::models
