// SPDX-License-Identifier: Apache-2.0
#include "foresight/train/image_views.hpp"

#include <algorithm>
#include <cmath>

#include "foresight/core/tensor.hpp"

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

// A crop in pixels.
struct Crop {
  int64_t top, left, height, width;
};

// As in random-resized-crop: a part of the area, an aspect ratio uniform in its logarithm,
// anywhere; a crop that would leave the picture is narrowed to it.
Crop crop_of(const at::TensorAccessor<float, 1>& u, int64_t height, int64_t width,
             const std::vector<double>& scale, const std::vector<double>& aspect) {
  const auto between = [](double part, double low, double high) {
    return low + part * (high - low);
  };
  const double area = between(u[kArea], scale[0], scale[1]) * static_cast<double>(height * width);
  const double ratio = std::exp(between(u[kAspect], std::log(aspect[0]), std::log(aspect[1])));
  const auto side = [](double length, int64_t most) {
    return std::clamp<int64_t>(std::lround(length), 1, most);
  };
  const auto h = side(std::sqrt(area / ratio), height), w = side(std::sqrt(area * ratio), width);
  const auto place = [](double part, int64_t choices) {
    return std::min(static_cast<int64_t>(part * static_cast<double>(choices)), choices - 1);
  };
  return {place(u[kTop], height - h + 1), place(u[kLeft], width - w + 1), h, w};
}

Tensor resized(const Tensor& images, int64_t size) {
  return at::_upsample_bilinear2d_aa(images, {size, size}, /*align_corners=*/false);
}

// Luma of ITU-R BT.601, [B,1,s,s].
Tensor luma(const Tensor& images) {
  const auto weights = at::tensor({0.299F, 0.587F, 0.114F}, images.options());
  return (images * weights.view({1, 3, 1, 1})).sum(1, /*keepdim=*/true);
}

Tensor recoloured(Tensor images, const Tensor& draws, const ImageViewOptions& options) {
  const auto column = [&](Draw which) { return draws.select(1, which).view({-1, 1, 1, 1}); };
  const auto factor = [&](Draw which, double most) { return 1 + (2 * column(which) - 1) * most; };
  const auto mirrored = column(kFlip) < options.flip;
  images = at::where(mirrored, images.flip({3}), images);
  images = (images * factor(kBrightness, options.brightness)).clamp(0, 1);
  const auto mean = luma(images).mean({1, 2, 3}, /*keepdim=*/true);
  images = (mean + (images - mean) * factor(kContrast, options.contrast)).clamp(0, 1);
  const auto grey = luma(images);
  images = (grey + (images - grey) * factor(kSaturation, options.saturation)).clamp(0, 1);
  return at::where(column(kGrey) < options.grey, luma(images), images);
}

Tensor unit_images(const Tensor& pixels) {
  check_shape("pixels", pixels, {kAny, kAny, kAny, 3}, "[B,H,W,3]");
  return pixels.permute({0, 3, 1, 2}).to(at::kFloat).div(kLargestByte);
}

}  // namespace

std::vector<std::string> ImageViewOptions::validate() const {
  Rules rules("ImageViewOptions");
  const auto range = [&](const char* name, const std::vector<double>& values, double most) {
    const bool good =
        values.size() == 2 && values[0] > 0 && values[0] <= values[1] && values[1] <= most;
    rules.check(good, name, values.empty() ? 0.0 : values[0],
                "must be two numbers that ascend within (0, " + std::to_string(most) + "]");
  };
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
  range("global_scale", global_scale, 1.0);
  range("local_scale", local_scale, 1.0);
  range("aspect", aspect, 100.0);
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
      const auto crop =
          crop_of(rows[i], height, width, global ? options.global_scale : options.local_scale,
                  options.aspect);
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
