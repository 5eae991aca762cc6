// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/image_preprocessing.hpp"

#include <algorithm>
#include <cmath>

#include "constant_row.hpp"

namespace foresight::models {

std::vector<std::string> ImageOptions::validate() const {
  constexpr std::size_t kChannels = 3;
  Rules rules("ImageOptions");
  rules.check(size >= 1, "size", static_cast<double>(size), "must be >= 1");
  rules.check(width >= 0, "width", static_cast<double>(width), "must be >= 0");
  rules.check(width == 0 || resize != ResizeRule::shorter_edge, "width", static_cast<double>(width),
              "must be 0 with resize = shorter_edge: the picture's shape gives the other edge");
  rules.check(resize_edge == 0 ||
                  (resize == ResizeRule::crop && resize_edge >= size && resize_edge >= columns()),
              "resize_edge", static_cast<double>(resize_edge),
              "must be 0, or with resize = crop at least size and width");
  rules.check(max_aspect == 0 ||
                  (resize == ResizeRule::stretch && std::isfinite(max_aspect) && max_aspect > 0),
              "max_aspect", max_aspect, "must be 0, or with resize = stretch positive");
  rules.check(std::isfinite(scale) && scale > 0, "scale", scale, "must be positive");
  rules.check(mean.size() == kChannels, "mean", static_cast<double>(mean.size()),
              "values, expected one per channel, 3");
  rules.check(std.size() == kChannels, "std", static_cast<double>(std.size()),
              "values, expected one per channel, 3");
  for (const double value : mean)
    rules.check(std::isfinite(value), "mean", value, "must be finite");
  for (const double value : std)
    rules.check(std::isfinite(value) && value > 0, "std", value, "must be positive");
  return rules.problems();
}

namespace {

// What is left of a width where pictures wider than max_aspect are cut.
int64_t width_within(int64_t height, int64_t width, double max_aspect) {
  if (max_aspect == 0) return width;
  const auto widest = std::nearbyint(max_aspect * static_cast<double>(height));
  return std::min(width, std::max<int64_t>(1, static_cast<int64_t>(widest)));
}

std::pair<int64_t, int64_t> resized(int64_t height, int64_t width, const ImageOptions& options) {
  if (options.resize == ResizeRule::stretch) return {options.size, options.columns()};
  const auto edge = options.resize_edge;
  const auto rows = edge > 0 ? edge : options.size, columns = edge > 0 ? edge : options.columns();
  // The smallest picture of this shape that covers [rows, columns]; the other edge is truncated.
  return rows * width >= columns * height ? std::pair{rows, rows * width / height}
                                          : std::pair{columns * height / width, columns};
}

}  // namespace

bool ImageOptions::scales_alone(int64_t picture_height, int64_t picture_width) const {
  return width_within(picture_height, picture_width, max_aspect) == picture_width &&
         resized(picture_height, picture_width, *this) == std::pair{size, columns()};
}

Tensor preprocess_images(const Tensor& pixels, const ImageOptions& options,
                         const at::TensorOptions& like) {
  check_shape("pixels", pixels, {kAny, kAny, kAny, 3}, "[N,H,W,3]");
  require(pixels.scalar_type() == at::kByte, ErrorCategory::invalid_argument,
          std::string("pixels have dtype ") + c10::toString(pixels.scalar_type()) +
              ", expected Byte (RGB, 0..255)");
  require(pixels.size(1) >= 1 && pixels.size(2) >= 1, ErrorCategory::invalid_argument,
          "pixels " + shape_string(pixels.sizes()) + " show empty pictures");
  const auto wanted = c10::typeMetaToScalarType(like.dtype());
  const auto compute = like.dtype(wanted == at::kDouble ? at::kDouble : at::kFloat);
  const auto channels = [&](auto&& of_channel) {
    std::vector<double> values;
    for (std::size_t c = 0; c < options.mean.size(); ++c) values.push_back(of_channel(c));
    return constant_row(values, compute).view({1, 3, 1, 1});
  };
  const auto factor = channels([&](std::size_t c) { return options.scale / options.std[c]; });
  const auto shift = channels([&](std::size_t c) { return -options.mean[c] / options.std[c]; });
  auto x = pixels.to(like.device()).permute({0, 3, 1, 2}).to(compute.dtype());
  const auto used = width_within(x.size(2), x.size(3), options.max_aspect);
  x = at::addcmul(shift, x.narrow(3, (x.size(3) - used) / 2, used), factor);
  const auto [height, width] = resized(x.size(2), x.size(3), options);
  if (height != x.size(2) || width != x.size(3)) {
    const std::vector<int64_t> edges{height, width};
    if (x.size(0) == 0) {
      x = x.new_empty({0, 3, height, width});
    } else if (options.interpolation == Interpolation::bilinear) {
      x = at::_upsample_bilinear2d_aa(x, edges, /*align_corners=*/false);
    } else {
      constexpr double kWhite = 255.0;
      x = at::_upsample_bicubic2d_aa(x, edges, /*align_corners=*/false);
      x = at::minimum(at::maximum(x, shift),
                      at::addcmul(shift, factor, at::full_like(factor, kWhite)));
    }
  }
  if (options.resize == ResizeRule::crop) {
    // The offset rounds half to even, as torchvision's CenterCrop does.
    const auto centre = [](const Tensor& y, int64_t axis, int64_t length) {
      const auto free = static_cast<double>(y.size(axis) - length);
      return y.narrow(axis, static_cast<int64_t>(std::nearbyint(free / 2.0)), length);
    };
    x = centre(centre(x, 2, options.size), 3, options.columns());
  }
  return x.to(wanted);
}

}  // namespace foresight::models
