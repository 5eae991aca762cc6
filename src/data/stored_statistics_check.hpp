// SPDX-License-Identifier: Apache-2.0
// Whether the statistics that lie beside recordings are theirs. Private to the data folder.
#pragma once

#include <string>
#include <vector>

#include "foresight/data/statistics.hpp"

namespace foresight::data {

struct StoredStatisticsCheck {
  Statistics stored;    ///< of those of the columns of which there are any
  std::string problem;  ///< they cannot be read, or are of other rows; empty: neither
};

/// Reads all rows of the columns, of which each must have some value. Numbers are the same up to
/// what float32 rounds: limits to 1e-6 of the largest value, means and deviations, which are sums
/// over many rows, to 1e-4.
StoredStatisticsCheck check_stored_statistics(const Dataset& dataset,
                                              const std::vector<std::string>& columns);

}  // namespace foresight::data
