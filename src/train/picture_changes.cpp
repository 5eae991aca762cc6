// SPDX-License-Identifier: Apache-2.0
#include "picture_changes.hpp"

#include <algorithm>
#include <cmath>

#include "../models/constant_row.hpp"

namespace foresight::train {

Crop random_crop(const CropDraws& draws, int64_t height, int64_t width,
                 const std::vector<double>& scale, const std::vector<double>& aspect) {
  const auto between = [](double part, double low, double high) {
    return low + part * (high - low);
  };
  const double area = between(draws.area, scale[0], scale[1]) * static_cast<double>(height * width);
  const double ratio = std::exp(between(draws.aspect, std::log(aspect[0]), std::log(aspect[1])));
  const auto side = [](double length, int64_t most) {
    return std::clamp<int64_t>(std::lround(length), 1, most);
  };
  const auto h = side(std::sqrt(area / ratio), height), w = side(std::sqrt(area * ratio), width);
  const auto place = [](double part, int64_t choices) {
    return std::min(static_cast<int64_t>(part * static_cast<double>(choices)), choices - 1);
  };
  return {place(draws.top, height - h + 1), place(draws.left, width - w + 1), h, w};
}

void check_range(Rules& rules, const char* name, const std::vector<double>& values, double most) {
  const bool good =
      values.size() == 2 && values[0] > 0 && values[0] <= values[1] && values[1] <= most;
  rules.check(good, name, values.empty() ? 0.0 : values[0],
              "must be two numbers that ascend within (0, " + std::to_string(most) + "]");
}

Tensor luma(const Tensor& pictures) {
  const auto weights = models::constant_row({0.299, 0.587, 0.114}, pictures.options());
  return (pictures * weights.view({3, 1, 1})).sum(-3, /*keepdim=*/true);
}

Tensor with_brightness(const Tensor& pictures, const Tensor& factor) {
  return (pictures * factor).clamp(0, 1);
}

Tensor with_contrast(const Tensor& pictures, const Tensor& factor) {
  const auto mean = luma(pictures).mean({-3, -2, -1}, /*keepdim=*/true);
  return (mean + (pictures - mean) * factor).clamp(0, 1);
}

Tensor with_saturation(const Tensor& pictures, const Tensor& factor) {
  const auto grey = luma(pictures);
  return (grey + (pictures - grey) * factor).clamp(0, 1);
}

// Hexcone model of Smith (1978). With m = V(1-S) and k_n = (n + 6H) mod 6 for n = 5, 3, 1, a
// channel is V - (V-m) max(0, min(k, 4-k, 1)): the six sectors in one formula.
Tensor with_hue(const Tensor& pictures, const Tensor& turn) {
  const auto most = pictures.amax(-3, /*keepdim=*/true);
  const auto chroma = most - pictures.amin(-3, /*keepdim=*/true);
  const auto r = pictures.narrow(-3, 0, 1), g = pictures.narrow(-3, 1, 1),
             b = pictures.narrow(-3, 2, 1);
  const auto divisor = at::where(chroma > 0, chroma, at::ones_like(chroma));  // grey has no hue
  const auto sixths = at::where(most == r, (g - b) / divisor,
                                at::where(most == g, (b - r) / divisor + 2, (r - g) / divisor + 4));
  const auto hue = sixths + 6 * turn;
  const auto channel = [&](double n) {
    const auto k = (hue + n).remainder(6);
    return most - chroma * at::minimum(k, 4 - k).clamp(0, 1);
  };
  return at::cat({channel(5), channel(3), channel(1)}, -3);
}

}  // namespace foresight::train
