// SPDX-License-Identifier: Apache-2.0
#include "foresight/nn/sincos_positions.hpp"

#include "foresight/core/error.hpp"

namespace foresight::nn {
namespace {

// Positions 0..count-1 of one axis: [count, channels].
Tensor axis_table(int64_t count, int64_t channels) {
  const auto half = channels / 2;
  const auto options = at::TensorOptions().dtype(at::kDouble);
  const auto frequency =
      at::pow(10000.0, at::arange(half, options).neg_().div_(static_cast<double>(half)));
  const auto angle = at::arange(count, options).unsqueeze(1) * frequency;
  return at::cat({at::sin(angle), at::cos(angle)}, 1);
}

void require_even(int64_t channels, int64_t width) {
  require(channels >= 2 && channels % 2 == 0, ErrorCategory::invalid_argument,
          "sine-cosine positions of width " + std::to_string(width) + " would give an axis " +
              std::to_string(channels) + " channels, expected an even number >= 2");
}

// The tables of all axes over the whole grid, concatenated and cut to `width`.
Tensor over_grid(const TokenGrid& grid, const std::vector<std::pair<Tensor, int64_t>>& axes,
                 int64_t width) {
  std::vector<Tensor> parts;
  for (const auto& [table, axis] : axes) {
    std::vector<int64_t> shape{1, 1, 1, table.size(1)};
    shape[static_cast<std::size_t>(axis)] = table.size(0);
    parts.push_back(
        table.view(shape).expand({grid.frames, grid.rows, grid.columns, table.size(1)}));
  }
  return at::cat(parts, -1)
      .flatten(0, 2)
      .narrow(1, 0, width)
      .to(at::kFloat)
      .unsqueeze(0)
      .contiguous();
}

}  // namespace

Tensor sincos_video_positions(const TokenGrid& grid, int64_t width, AxisShare share) {
  const bool uniform = share == AxisShare::uniform;
  const auto time = uniform ? 2 * ((width + 5) / 6) : width / 2;
  const auto space = uniform ? time : width / 4;
  require_even(time, width);
  require_even(space, width);
  require(time + 2 * space >= width, ErrorCategory::invalid_argument,
          "sine-cosine positions of a clip need a width that is a multiple of 4, got " +
              std::to_string(width));
  return over_grid(grid,
                   {{axis_table(grid.frames, time), 0},
                    {axis_table(grid.rows, space), 1},
                    {axis_table(grid.columns, space), 2}},
                   width);
}

Tensor sincos_image_positions(const TokenGrid& grid, int64_t width) {
  require_even(width / 2, width);
  require(width % 2 == 0, ErrorCategory::invalid_argument,
          "sine-cosine positions of a picture need an even width, got " + std::to_string(width));
  return over_grid(
      grid, {{axis_table(grid.rows, width / 2), 1}, {axis_table(grid.columns, width / 2), 2}},
      width);
}

Tensor resized_positions(const Tensor& table, const TokenGrid& from, const TokenGrid& to,
                         Resampling resampling) {
  if (to.rows == from.rows && to.columns == from.columns && to.frames <= from.frames)
    return table.narrow(1, 0, to.count());
  const auto volume =
      table.view({1, from.frames, from.rows, from.columns, table.size(2)}).permute({0, 4, 1, 2, 3});
  const auto resized = resampling == Resampling::bicubic
                           ? at::upsample_bicubic2d(volume.squeeze(2), {to.rows, to.columns},
                                                    /*align_corners=*/false)
                           : at::upsample_trilinear3d(volume, {to.frames, to.rows, to.columns},
                                                      /*align_corners=*/false);
  return resized.flatten(2).transpose(1, 2);
}

}  // namespace foresight::nn
