// SPDX-License-Identifier: Apache-2.0
// How pictures are prepared for an encoder that comes from elsewhere. Weights that are exact give
// other features on pictures that are cut or scaled otherwise.
#pragma once

#include <optional>

#include "foresight/io/hf_folder.hpp"
#include "foresight/models/image_preprocessing.hpp"

namespace foresight::models {

/// What preprocessor_config.json, or video_preprocessor_config.json, of a folder of transformers
/// says, as its image processors understand it: do_resize with size (an edge for both axes, height
/// and width, or the shortest edge) and resample, do_center_crop with crop_size, do_rescale with
/// rescale_factor, do_normalize with image_mean and image_std. What is not there stays open: size
/// 0, no mean, no std. Nothing without such a file. Throws Error: bad_file for values that make no
/// sense; unsupported, naming the key, for steps that ImageOptions does not have, and for steps
/// ("do_...": true) that are not known here.
FORESIGHT_API std::optional<ImageOptions> read_hf_preprocessing(const io::HfFolder& folder);

/// The published evaluation of V-JEPA 2 at `size` pixels: ImageNet statistics, the shorter edge
/// scaled to size * 256 / 224 (292 for 256, 438 for 384), then the centre square.
FORESIGHT_API ImageOptions vjepa2_evaluation_pictures(int64_t size);

/// The same as the folder of a V-JEPA 2 has it: read_hf_preprocessing(), and what that leaves open,
/// or all of it, as published. Throws as read_hf_preprocessing().
FORESIGHT_API ImageOptions vjepa2_evaluation_pictures(int64_t size, const io::HfFolder& folder);

}  // namespace foresight::models
