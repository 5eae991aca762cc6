// SPDX-License-Identifier: Apache-2.0
// Mean and spread of recorded columns, and the action space that follows from them.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "foresight/core/action_space.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Whether the last row of every episode counts.
enum class LastRow { include, exclude };

/// What a missing value (NaN) leaves out of statistics.
enum class Missing {
  value,  ///< itself: every column counts by itself
  row,    ///< its row, in all columns that are asked for: so stable-worldmodel normalises vectors
};

/// Statistics of columns over rows, one entry per column.
struct FORESIGHT_API Statistics {
  std::vector<std::string> columns;
  std::vector<int64_t> count;    ///< rows that counted
  std::vector<int64_t> missing;  ///< rows left out because of NaN: its own, or Missing::row
  std::vector<double> mean;
  std::vector<double> std;  ///< population standard deviation
  std::vector<double> min;
  std::vector<double> max;
};

/// Statistics of `columns` over chosen episodes (empty: all), accumulated in float64 with Welford's
/// update. Throws Error(non_finite) naming the column, or all of them, if no row counts, e.g.
/// because every episode has one row and LastRow::exclude was asked for.
FORESIGHT_API Statistics column_statistics(const Dataset& dataset,
                                           const std::vector<std::string>& columns,
                                           LastRow last_row,
                                           const std::vector<int64_t>& episodes = {},
                                           Missing missing = Missing::value);

/// The action space of a data set: dimension, block and the mean and population standard deviation
/// of its action columns over rows without NaN (Missing::row). The action in the last row of every
/// episode is left out, whether the recorder marked it or not: no window ever shows it to a model,
/// and some recorders leave an artefact there. A constant column gets std 1, with a warning:
/// dividing by 0 or by a tiny floor would make it explode if it ever changes. Limits are left open:
/// data do not tell them.
FORESIGHT_API ActionSpace action_space(const Dataset& dataset, int64_t block,
                                       const std::vector<int64_t>& episodes = {});

}  // namespace foresight::data
