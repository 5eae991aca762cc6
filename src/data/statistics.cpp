// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/statistics.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "foresight/core/log.hpp"

namespace foresight::data {
namespace {

// B. P. Welford, "Note on a method for calculating corrected sums of squares and products",
// Technometrics 1962.
struct Accumulator {
  int64_t count = 0, missing = 0;
  double mean = 0, squares = 0;
  double min = std::numeric_limits<double>::infinity(),
         max = -std::numeric_limits<double>::infinity();

  void add(double value) {
    ++count;
    const double before = value - mean;
    mean += before / static_cast<double>(count);
    squares += before * (value - mean);
    min = std::min(min, value);
    max = std::max(max, value);
  }
};

std::string listed(const std::vector<std::string>& columns) {
  std::string names;
  for (const auto& column : columns) names += (names.empty() ? "'" : ", '") + column + "'";
  return names;
}

}  // namespace

Statistics column_statistics(const Dataset& dataset, const std::vector<std::string>& columns,
                             LastRow last_row, const std::vector<int64_t>& episodes,
                             Missing missing) {
  std::vector<int64_t> chosen = episodes;
  if (chosen.empty()) {
    chosen.resize(static_cast<std::size_t>(dataset.num_episodes()));
    std::iota(chosen.begin(), chosen.end(), 0);
  }
  std::vector<Accumulator> sums(columns.size());
  for (int64_t episode : chosen) {
    const int64_t rows = dataset.length(episode) - (last_row == LastRow::exclude ? 1 : 0);
    const Tensor values = dataset.read_rows(columns, episode, 0, rows);
    const auto* value = values.const_data_ptr<double>();
    const auto is_missing = [](double number) { return std::isnan(number); };
    for (int64_t r = 0; r < rows; ++r, value += sums.size()) {
      const bool drop =
          missing == Missing::row && std::any_of(value, value + sums.size(), is_missing);
      for (std::size_t c = 0; c < sums.size(); ++c)
        if (drop || is_missing(value[c]))
          ++sums[c].missing;
        else
          sums[c].add(value[c]);
    }
  }
  Statistics result;
  result.columns = columns;
  for (std::size_t c = 0; c < columns.size(); ++c) {
    const Accumulator& sum = sums[c];
    require(
        sum.count > 0, ErrorCategory::non_finite,
        dataset.name() + ": " +
            (missing == Missing::row ? "no row has a value in every column of " + listed(columns)
                                     : "column '" + columns[c] + "' has no value") +
            " in " + std::to_string(chosen.size()) + " episode(s), so there are no statistics");
    result.count.push_back(sum.count);
    result.missing.push_back(sum.missing);
    result.mean.push_back(sum.mean);
    result.std.push_back(std::sqrt(sum.squares / static_cast<double>(sum.count)));
    result.min.push_back(sum.min);
    result.max.push_back(sum.max);
  }
  return result;
}

ActionSpace action_space(const Dataset& dataset, int64_t block,
                         const std::vector<int64_t>& episodes) {
  const Statistics statistics = column_statistics(dataset, dataset.action_columns(),
                                                  LastRow::exclude, episodes, Missing::row);
  ActionSpace space;
  space.dim = static_cast<int64_t>(statistics.columns.size());
  space.block = block;
  space.mean = statistics.mean;
  space.std = statistics.std;
  for (std::size_t c = 0; c < statistics.columns.size(); ++c) {
    if (statistics.max[c] > statistics.min[c] && space.std[c] > 0) continue;
    space.std[c] = 1;
    log(LogLevel::warning, dataset.name() + ": action column '" + statistics.columns[c] +
                               "' is constant, its standard deviation is set to 1");
  }
  require_valid(space);
  return space;
}

}  // namespace foresight::data
