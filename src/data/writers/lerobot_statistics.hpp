// SPDX-License-Identifier: Apache-2.0
// Statistics as LeRobot v3.0 stores them, for every episode and for all: min, max, mean, population
// std, count and five quantiles of each number of a feature. Private to the data folder.
#pragma once

#include <array>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/tensor.hpp"

namespace foresight::data {

struct FeatureStatistics {
  Tensor min = {}, max = {};            ///< [width], float64; int64 of whole numbers
  Tensor mean = {}, std = {};           ///< float64 [width]
  std::array<Tensor, 5> quantile = {};  ///< of kQuantiles; undefined where not known
  int64_t count = 0;                    ///< rows, or frames
  /// Those of them in which each number has a value, float64 [width]; undefined: all. Where several
  /// numbers of a row are taken together, a row counts by their part.
  Tensor known = {};
};

inline constexpr std::array<double, 5> kQuantiles = {0.01, 0.10, 0.50, 0.90, 0.99};
inline constexpr std::array<const char*, 5> kQuantileNames = {"q01", "q10", "q50", "q90", "q99"};

/// Of the columns of [rows, width]. NaN is left out; those of a column without any number are NaN.
FeatureStatistics row_statistics(const Tensor& rows);

/// Of two parts, each number by the rows in which it is known. Quantiles of a whole do not follow
/// from those of its parts: LeRobot's tools average them by count, and so does this.
FeatureStatistics merged(const FeatureStatistics& a, const FeatureStatistics& b);

/// Colours of frames, per channel on the scale 0..1, without keeping the frames.
class ColourHistogram {
 public:
  /// uint8 [H,W,3]. Of a large frame a grid of at most 150 pixels a side is looked at, which tells
  /// mean and spread well enough; LeRobot's tools do likewise.
  void add(const Tensor& frame);
  FeatureStatistics statistics() const;  ///< [3]; at least one frame was added

 private:
  std::array<std::array<int64_t, 256>, 3> counts_{};
  int64_t frames_ = 0;
};

}  // namespace foresight::data
