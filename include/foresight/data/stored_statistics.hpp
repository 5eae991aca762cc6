// SPDX-License-Identifier: Apache-2.0
// Statistics that lie beside recorded data, as the package that wrote it has made them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace foresight::data {

/// Of one feature. `std` is that of the population, all numbers are finite, `min` <= `max`.
struct StoredStatistics {
  std::string file;  ///< they lie in
  /// A number for each column of the feature, in the order of ColumnGroup::columns. Of a camera one
  /// for each channel, on the scale 0..1. Of a matrix also, as LeRobot 0.4 writes them, one for
  /// each number of its last size.
  std::vector<double> mean, std, min, max;
  int64_t count = 0;  ///< rows, or frames, that they were made from; 0: not told
  /// In how many of these rows each number has a value, as long as `mean`; a fraction where several
  /// numbers of a row were taken together. Empty: in all, or not told.
  std::vector<double> known = {};
};

}  // namespace foresight::data
