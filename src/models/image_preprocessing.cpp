// SPDX-License-Identifier: Apache-2.0
#include "foresight/models/image_preprocessing.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::models {

std::vector<std::string> ImageOptions::validate() const {
  constexpr std::size_t kChannels = 3;
  Rules rules("ImageOptions");
  rules.check(size >= 1, "size", static_cast<double>(size), "must be >= 1");
  rules.check(width >= 0, "width", static_cast<double>(width), "must be >= 0");
  rules.check(width == 0 || resize != ResizeRule::shorter_edge, "width", static_cast<double>(width),
              "must be 0 with resize = shorter_edge: the picture's shape gives the other edge");
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

std::pair<int64_t, int64_t> resized(int64_t height, int64_t width, const ImageOptions& options) {
  const auto rows = options.size, columns = options.columns();
  if (options.resize == ResizeRule::stretch) return {rows, columns};
  // The smallest picture of this shape that covers [rows, columns]; the other edge is truncated.
  return rows * width >= columns * height ? std::pair{rows, rows * width / height}
                                          : std::pair{columns * height / width, columns};
}

}  // namespace

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
    return at::tensor(values, at::kDouble).to(compute).view({1, 3, 1, 1});
  };
  const auto factor = channels([&](std::size_t c) { return options.scale / options.std[c]; });
  const auto shift = channels([&](std::size_t c) { return -options.mean[c] / options.std[c]; });
  auto x = pixels.to(like.device()).permute({0, 3, 1, 2}).to(compute.dtype());
  x = at::addcmul(shift, x, factor);
  const auto [height, width] = resized(pixels.size(1), pixels.size(2), options);
  if (height != x.size(2) || width != x.size(3))
    x = x.size(0) > 0 ? at::_upsample_bilinear2d_aa(x, {height, width}, /*align_corners=*/false)
                      : x.new_empty({0, 3, height, width});
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
