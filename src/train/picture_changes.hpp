// SPDX-License-Identifier: Apache-2.0
// Random changes of pictures, one by one: crops and colours, as torchvision defines them. Their
// callers draw the numbers. Pictures are floating point [...,3,H,W] in [0,1]; a `factor` broadcasts
// against them. Private to the train folder.
#pragma once

#include <cstdint>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::train {

/// A crop in pixels.
struct Crop {
  int64_t top = 0, left = 0, height = 0, width = 0;
};

/// Uniform numbers in (0,1) that a random crop is made from.
struct CropDraws {
  double area = 0, aspect = 0, top = 0, left = 0;
};

/// As in random-resized-crop: a part `scale` (from, to) of the picture's area, an aspect ratio
/// (width / height; from, to) uniform in its logarithm, anywhere; a crop that would leave the
/// picture is narrowed to it.
Crop random_crop(const CropDraws& draws, int64_t height, int64_t width,
                 const std::vector<double>& scale, const std::vector<double>& aspect);

/// Whether `values` are two numbers that ascend within (0, most]: a range to draw from.
void check_range(Rules& rules, const char* name, const std::vector<double>& values, double most);

/// Luma of ITU-R BT.601, [...,1,H,W]. torchvision rounds its weights to 0.2989, 0.587, 0.114, which
/// differs by 1e-4.
Tensor luma(const Tensor& pictures);

/// Black at factor 0, the picture at 1.
Tensor with_brightness(const Tensor& pictures, const Tensor& factor);
/// The picture's mean luma at factor 0, the picture at 1.
Tensor with_contrast(const Tensor& pictures, const Tensor& factor);
/// Grey at factor 0, the picture at 1.
Tensor with_saturation(const Tensor& pictures, const Tensor& factor);
/// Hue turned by `turn` of the colour circle, in [-0.5, 0.5], through HSV.
Tensor with_hue(const Tensor& pictures, const Tensor& turn);

}  // namespace foresight::train
