// SPDX-License-Identifier: Apache-2.0
// Fixed sine-cosine position tables for grids of patches (images) and tubelets (video), as V-JEPA
// adds them to its tokens when it does not use rotary positions.
#pragma once

#include "foresight/core/tensor.hpp"

namespace foresight::nn {

/// Tokens of a picture or clip: id = (t * rows + r) * columns + c. A picture has one frame.
struct TokenGrid {
  int64_t frames = 1;  ///< tubelets along time
  int64_t rows = 1, columns = 1;

  int64_t per_frame() const { return rows * columns; }
  int64_t count() const { return frames * per_frame(); }
};

/// How the channels are divided among the axes of a clip.
enum class AxisShare {
  time_half,  ///< half to time, a quarter each to rows and columns
  uniform,    ///< 2 ceil(D/6) each, then cut to D ("uniform power")
};

/// [1, grid.count(), width], float32 (computed in float64). An axis with d channels holds
/// [sin(p w), cos(p w)], w_i = 10000^(-i/(d/2)), i < d/2, at position p. A picture gives half of
/// the channels to rows, half to columns. Throws Error(invalid_argument) for a width that cannot be
/// divided so.
FORESIGHT_API Tensor sincos_video_positions(const TokenGrid& grid, int64_t width, AxisShare share);
FORESIGHT_API Tensor sincos_image_positions(const TokenGrid& grid, int64_t width);

/// How a table becomes one of another size: clips trilinearly, pictures bicubically.
enum class Resampling { trilinear, bicubic };
/// A table [1,from.count(),D] for another size. Fewer frames of the same picture size take its
/// first rows; everything else is resampled.
FORESIGHT_API Tensor resized_positions(const Tensor& table, const TokenGrid& from,
                                       const TokenGrid& to, Resampling resampling);

}  // namespace foresight::nn
