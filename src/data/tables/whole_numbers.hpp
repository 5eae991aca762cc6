// SPDX-License-Identifier: Apache-2.0
// Whole numbers that float64 cannot hold, beside a table of float64: nanoseconds since 1970 and
// identifiers have 19 digits, float64 has 15 to 17. Private to the data folder.
#pragma once

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "foresight/data/csv.hpp"

namespace foresight::data {

/// Every whole number below it is exact in float64: 2^53.
inline constexpr double kLargestExact = 9007199254740992.0;

/// Collects the large ones while a table is read.
class WholeNumbers {
 public:
  /// The cell of a column at a row, which float64 makes `rounded` of.
  void add(const std::string& column, int64_t row, int64_t value, double rounded) {
    cells_[column].emplace_back(row, value);
    // 2^63 and above, as float64 rounds them, have no int64 to be compared with.
    if (rounded >= 0x1p63 || static_cast<int64_t>(rounded) != value) inexact_[column] = true;
  }

  /// The columns of `table` that hold whole numbers only, some of which float64 cannot hold.
  std::map<std::string, Tensor> columns(const CsvTable& table) const {
    std::map<std::string, Tensor> whole;
    for (const auto& [column, inexact] : inexact_) {
      if (table.skipped.contains(column)) continue;
      const Tensor values = table.values.select(1, table.column(column));
      const auto& cells = cells_.at(column);
      const Tensor large = values.abs() >= kLargestExact;
      const bool all_whole = (values == values.trunc()).all().item<bool>() &&
                             large.sum().item<int64_t>() == static_cast<int64_t>(cells.size());
      if (!all_whole) continue;  // a missing value, a fraction, or 1e300
      Tensor exact = at::where(large, at::zeros({}, at::kDouble), values).to(at::kLong);
      auto* number = exact.mutable_data_ptr<int64_t>();
      for (const auto& [row, value] : cells) number[row] = value;
      whole.emplace(column, std::move(exact));
    }
    return whole;
  }

 private:
  std::map<std::string, std::vector<std::pair<int64_t, int64_t>>> cells_;  // (row, value)
  std::map<std::string, bool> inexact_;  // columns with a number that float64 changes
};

}  // namespace foresight::data
