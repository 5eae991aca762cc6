// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/image_views.hpp"

#include <algorithm>

#include "foresight/core/tensor.hpp"
#include "picture_changes.hpp"

namespace foresight::train {
namespace {

// Numbers drawn for a view of one picture.
enum Draw {
  kArea,
  kAspect,
  kTop,
  kLeft,
  kFlip,
  kBrightness,
  kContrast,
  kSaturation,
  kGrey,
  kDraws
};

constexpr double kLargestByte = 255.0;

Tensor resized(const Tensor& images, int64_t size) {
  return at::_upsample_bilinear2d_aa(images, {size, size}, /*align_corners=*/false);
}

Tensor recoloured(Tensor images, const Tensor& draws, const ImageViewOptions& options) {
  const auto column = [&](Draw which) { return draws.select(1, which).view({-1, 1, 1, 1}); };
  const auto factor = [&](Draw which, double most) { return 1 + (2 * column(which) - 1) * most; };
  const auto mirrored = column(kFlip) < options.flip;
  images = at::where(mirrored, images.flip({3}), images);
  images = with_brightness(images, factor(kBrightness, options.brightness));
  images = with_contrast(images, factor(kContrast, options.contrast));
  images = with_saturation(images, factor(kSaturation, options.saturation));
  return at::where(column(kGrey) < options.grey, luma(images), images);
}

Tensor unit_images(const Tensor& pixels) {
  check_shape("pixels", pixels, {kAny, kAny, kAny, 3}, "[B,H,W,3]");
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).div(kLargestByte);
}

}  // namespace

std::vector<std::string> ImageViewOptions::validate() const {
  Rules rules("ImageViewOptions");
  rules.at_least("global_views", static_cast<double>(global_views), 1)
      .at_least("global_size", static_cast<double>(global_size), 1)
      .at_least("local_views", static_cast<double>(local_views), 0)
      .at_least("local_size", static_cast<double>(local_size), 1)
      .check(views() >= 2, "local_views", static_cast<double>(local_views),
             "and global_views must be at least 2 together: one view has nothing to agree with")
      .within("flip", flip, 0, 1)
      .within("brightness", brightness, 0, 1)
      .within("contrast", contrast, 0, 1)
      .within("saturation", saturation, 0, 1)
      .within("grey", grey, 0, 1);
  check_range(rules, "global_scale", global_scale, 1.0);
  check_range(rules, "local_scale", local_scale, 1.0);
  check_range(rules, "aspect", aspect, 100.0);
  return rules.problems();
}

std::vector<Tensor> image_views(const Tensor& pixels, const ImageViewOptions& options,
                                Noise& noise) {
  const auto images = unit_images(pixels);
  const auto count = images.size(0), height = images.size(2), width = images.size(3);
  std::vector<Tensor> views;
  for (int64_t view = 0; view < options.views(); ++view) {
    const bool global = view < options.global_views;
    const auto draws = noise.uniform({count, kDraws}, at::kFloat).contiguous();
    const auto rows = draws.accessor<float, 2>();
    std::vector<Tensor> crops;
    for (int64_t i = 0; i < count; ++i) {
      const auto u = rows[i];
      const auto crop =
          random_crop({u[kArea], u[kAspect], u[kTop], u[kLeft]}, height, width,
                      global ? options.global_scale : options.local_scale, options.aspect);
      crops.push_back(resized(
          images.narrow(0, i, 1).narrow(2, crop.top, crop.height).narrow(3, crop.left, crop.width),
          global ? options.global_size : options.local_size));
    }
    views.push_back(recoloured(at::cat(crops), draws.to(images.device()), options));
  }
  return views;
}

Tensor centre_view(const Tensor& pixels, int64_t size) {
  const auto images = unit_images(pixels);
  const auto height = images.size(2), width = images.size(3), side = std::min(height, width);
  return resized(images.narrow(2, (height - side) / 2, side).narrow(3, (width - side) / 2, side),
                 size);
}

}  // namespace foresight::train
