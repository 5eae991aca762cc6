// SPDX-License-Identifier: Apache-2.0
#include "two_room_picture.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::envs {

namespace {

constexpr int64_t kBorderLine = 4;  // width of the border line, which ends at TwoRoom::kBorder

void fill(Tensor& picture, const Tensor& mask, const std::vector<int64_t>& color) {
  for (int64_t channel = 0; channel < 3; ++channel)
    picture.select(2, channel).masked_fill_(mask, color[static_cast<std::size_t>(channel)]);
}

}  // namespace

Tensor two_room_background(const TwoRoomOptions& options) {
  constexpr auto kSize = TwoRoom::kSize;
  const auto along = at::arange(kSize);
  const int64_t half = options.wall_thickness / 2;
  const auto stripe = (along - TwoRoom::kCenter).abs() <= half;
  auto opening = at::zeros({kSize}, at::kBool);
  for (std::size_t door = 0; door < options.door_positions.size(); ++door)
    opening |= (along - options.door_positions[door]).abs() <= options.door_half_sizes[door];
  // Masks are [row, column]; a vertical wall is a stripe of columns.
  const bool vertical = options.wall_axis == WallAxis::vertical;
  const auto in_stripe = stripe.unsqueeze(vertical ? 0 : 1).expand({kSize, kSize});
  const auto in_opening = opening.unsqueeze(vertical ? 1 : 0).expand({kSize, kSize});
  auto wall = in_stripe & ~in_opening;
  for (const int64_t line : {TwoRoom::kBorder - kBorderLine, kSize - TwoRoom::kBorder})
    for (const int64_t axis : {0, 1}) wall.narrow(axis, line, kBorderLine).fill_(true);

  auto picture = at::empty({kSize, kSize, 3}, at::kByte);
  fill(picture, at::ones({kSize, kSize}, at::kBool), options.background_color);
  fill(picture, in_stripe & in_opening, options.door_color);
  fill(picture, wall, options.wall_color);
  return picture;
}

// In float32, a blob changes a pixel only where its weight exceeds 2^-25 (below, 1 - a rounds to
// 1), that is, within sqrt(50 ln 2) = 5.9 standard deviations: the rest of the picture need not be
// looked at.
void draw_blob(Tensor& picture, const std::array<float, 2>& centre, float radius,
               const std::vector<int64_t>& color) {
  const int64_t height = picture.size(0), width = picture.size(1);
  const float reach = 6 * radius + 1;
  auto span = [&](float middle, int64_t limit) {
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(std::floor(middle - reach)));
    const auto last = std::min<int64_t>(limit - 1, static_cast<int64_t>(std::ceil(middle + reach)));
    return std::pair{first, last - first + 1};
  };
  const auto [left, columns] = span(centre[0], width);
  const auto [top, rows] = span(centre[1], height);

  auto squares = [](int64_t first, int64_t count, float middle) {
    std::vector<float> result(static_cast<std::size_t>(count));
    for (int64_t i = 0; i < count; ++i) {
      const float d = static_cast<float>(first + i) - middle;
      result[static_cast<std::size_t>(i)] = d * d;
    }
    return result;
  };
  const auto dx2 = squares(left, columns, centre[0]);
  const auto dy2 = squares(top, rows, centre[1]);
  const float scale = static_cast<float>(2.0 * radius * radius);
  auto weights = at::empty({rows, columns}, at::kFloat);
  float* weight = weights.data_ptr<float>();
  for (int64_t y = 0; y < rows; ++y)
    for (int64_t x = 0; x < columns; ++x)
      weight[y * columns + x] =
          -(dx2[static_cast<std::size_t>(x)] + dy2[static_cast<std::size_t>(y)]) / scale;
  weights.exp_();  // ATen's exp is the reference's, to the last bit
  const float brightest = *std::max_element(weight, weight + rows * columns);

  auto* pixels = picture.data_ptr<std::uint8_t>();
  for (int64_t y = 0; y < rows; ++y) {
    auto* pixel = pixels + ((top + y) * width + left) * 3;
    for (int64_t x = 0; x < columns; ++x, pixel += 3) {
      const float a = weight[y * columns + x] / brightest;
      const float rest = 1.0f - a;
      for (std::size_t channel = 0; channel < 3; ++channel) {
        // Rounded products of exact doubles, as in TwoRoom::moved: no fused multiply-add on any
        // machine.
        const auto under = static_cast<float>(static_cast<double>(pixel[channel]) * rest);
        const auto over =
            static_cast<float>(static_cast<double>(color[channel]) * static_cast<double>(a));
        pixel[channel] = static_cast<std::uint8_t>(under + over);  // truncated
      }
    }
  }
}

Tensor resized(const Tensor& picture, int64_t size) {
  const auto planes = picture.permute({2, 0, 1}).unsqueeze(0);
  const auto small = at::_upsample_bilinear2d_aa(planes, {size, size}, /*align_corners=*/false);
  return small.squeeze(0).permute({1, 2, 0}).contiguous();
}

}  // namespace foresight::envs
