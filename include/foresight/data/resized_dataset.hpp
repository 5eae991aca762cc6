// SPDX-License-Identifier: Apache-2.0
// A data set seen at another picture size. A model that looks at 32-pixel pictures should not pay
// at every step for shrinking 64-pixel ones: shrunk once, on the way into the frame cache, they
// also take a quarter of the memory.
#pragma once

#include <memory>

#include "foresight/data/forwarded_dataset.hpp"

namespace foresight::data {

/// Everything of `dataset`, with frames resized by the antialiased bilinear filter in 8 bits: what
/// a model's own preprocessing computes in floating point, rounded to whole grey levels.
class FORESIGHT_API ResizedDataset final : public ForwardedDataset {
 public:
  /// Throws Error(invalid_argument) for a size below 1.
  ResizedDataset(std::shared_ptr<const Dataset> dataset, ImageSize size);

  ImageSize image_size() const override { return size_; }
  Tensor read_frames(int64_t episode, at::IntArrayRef indices) const override;
  void identify_decoding(Fnv1a& hash) const override;

 private:
  ImageSize size_;
};

}  // namespace foresight::data
