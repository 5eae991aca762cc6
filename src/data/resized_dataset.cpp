// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/resized_dataset.hpp"

#include "foresight/core/error.hpp"
#include "video/frame_pieces.hpp"

namespace foresight::data {

ResizedDataset::ResizedDataset(std::shared_ptr<const Dataset> dataset, ImageSize size)
    : ForwardedDataset(dataset), size_(size) {
  require(dataset != nullptr && size_.height >= 1 && size_.width >= 1,
          ErrorCategory::invalid_argument, "ResizedDataset needs a data set and a size >= 1");
}

Tensor ResizedDataset::read_frames(int64_t episode, at::IntArrayRef indices) const {
  const auto given = shown().image_size();
  if (given == size_) return shown().read_frames(episode, indices);
  return in_pieces(static_cast<int64_t>(indices.size()), given.height * given.width * 3,
                   [&](int64_t first, int64_t count) {
                     const auto rows = indices.slice(static_cast<std::size_t>(first),
                                                     static_cast<std::size_t>(count));
                     const auto frames = shown().read_frames(episode, rows).permute({0, 3, 1, 2});
                     return at::_upsample_bilinear2d_aa(frames, {size_.height, size_.width},
                                                        /*align_corners=*/false)
                         .permute({0, 2, 3, 1})
                         .contiguous();
                   });
}

void ResizedDataset::identify_decoding(Fnv1a& hash) const {
  shown().identify_decoding(hash);
  if (shown().image_size() != size_) hash.add("resized by ResizedDataset");
}

}  // namespace foresight::data
