// SPDX-License-Identifier: Apache-2.0
// The encoder of one model's bundle as the frozen backbone of another: DINO-WM on a DINOv2 that was
// imported or a LeJEPA that was trained here, V-JEPA 2-AC on a V-JEPA 2.
#pragma once

#include "foresight/io/bundle.hpp"
#include "foresight/io/load_tensors.hpp"
#include "foresight/models/image_preprocessing.hpp"
#include "foresight/nn/video_vit.hpp"
#include "foresight/nn/vit.hpp"

namespace torch::nn {
class Module;
}

namespace foresight::models {

/// An image encoder. Its weights are mapped, not copied, under the names of nn::Vit.
struct ImageBackbone {
  ImageOptions image;  ///< how it saw pictures
  nn::VitOptions encoder;
  int64_t encoder_image_size = 0;  ///< of its position table, pixels
  io::NamedTensors tensors;
};

/// A video encoder, likewise.
struct VideoBackbone {
  ImageOptions image;
  nn::VideoVitOptions encoder;
  io::NamedTensors tensors;
};

/// The encoder of a bundle of family vit, lejepa or dino_wm. Throws Error(unsupported) for another
/// family; bad_file for a damaged bundle (Bundle::checksum); otherwise as the family's reader does
/// for its options.
FORESIGHT_API ImageBackbone image_backbone(const io::Bundle& bundle);

/// The encoder of a bundle of family vjepa2 or vjepa2_ac. Throws Error likewise.
FORESIGHT_API VideoBackbone video_backbone(const io::Bundle& bundle);

/// Puts a backbone's weights into `model`, whose encoder has its options, below "encoder.". Strict:
/// throws Error(bad_file) that opens with `source` and changes nothing then. With
/// io::Placement::share the encoder keeps the weights in the mapped file: it stays as it is.
FORESIGHT_API void load_backbone(torch::nn::Module& model, const io::NamedTensors& tensors,
                                 std::string_view source,
                                 io::Placement placement = io::Placement::copy);

}  // namespace foresight::models
