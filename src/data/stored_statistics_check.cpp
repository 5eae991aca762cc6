// SPDX-License-Identifier: Apache-2.0
#include "stored_statistics_check.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

namespace foresight::data {
namespace {

// The number of a column in its feature's statistics.
struct Place {
  const StoredStatistics* of = nullptr;
  std::size_t number = 0;
};

std::map<std::string, Place> places_in(const std::map<std::string, StoredStatistics>& stored,
                                       const Dataset& dataset) {
  std::map<std::string, Place> places;
  for (const auto& group : dataset.groups()) {
    const auto found = stored.find(group.name);
    if (found == stored.end() || found->second.mean.size() != group.columns.size()) continue;
    for (std::size_t i = 0; i < group.columns.size(); ++i)
      places[group.columns[i]] = {&found->second, i};
  }
  return places;
}

// What of one column contradicts its rows; empty: nothing.
std::string contradiction(const Statistics& stored, const Statistics& own, std::size_t c) {
  const auto& column = own.columns[c];
  const int64_t rows = own.count[c] + own.missing[c];
  const int64_t told = stored.count[c] + stored.missing[c];
  if (told > 0 && told != rows)
    return fmt::format("'{}' is of {} rows there, of {} here", column, told, rows);
  if (stored.missing[c] > 0 && stored.missing[c] != own.missing[c])
    return fmt::format("'{}' has a value in {} rows there, in {} here", column, stored.count[c],
                       own.count[c]);
  const double largest = std::max(std::abs(own.min[c]), std::abs(own.max[c]));
  const auto other = [&](const char* what, double there, double here, double part) {
    const bool same = std::abs(there - here) <= part * largest;
    return same ? std::string()
                : fmt::format("the {} of '{}' is {} there, {} here", what, column, there, here);
  };
  constexpr double kLimits = 1e-6, kSums = 1e-4;
  std::string found = other("min", stored.min[c], own.min[c], kLimits);
  if (found.empty()) found = other("max", stored.max[c], own.max[c], kLimits);
  if (found.empty()) found = other("mean", stored.mean[c], own.mean[c], kSums);
  // LeRobot's is the root of a difference of two means of squares, each of which is rounded.
  const double there = stored.std[c], here = own.std[c];
  constexpr double kSquares = 1e-5;
  if (found.empty() && std::abs(there * there - here * here) > kSquares * largest * largest)
    found = other("std", there, here, kSums);
  return found;
}

}  // namespace

StoredStatisticsCheck check_stored_statistics(const Dataset& dataset,
                                              const std::vector<std::string>& columns) {
  StoredStatisticsCheck check;
  std::map<std::string, StoredStatistics> all;
  try {
    all = dataset.stored_statistics();
  } catch (const Error& problem) {
    if (!is_unreadable(problem)) throw;
    check.problem = fmt::format("stored statistics cannot be read: {}", problem.what());
    return check;
  }
  const auto places = places_in(all, dataset);
  Statistics& stored = check.stored;
  for (const auto& column : columns) {
    const auto place = places.find(column);
    if (place == places.end()) continue;
    const auto& [of, number] = place->second;
    stored.columns.push_back(column);
    const auto known = of->known.empty() ? of->count : std::llround(of->known[number]);
    stored.count.push_back(known);
    stored.missing.push_back(of->count - known);
    stored.mean.push_back(of->mean[number]);
    stored.std.push_back(of->std[number]);
    stored.min.push_back(of->min[number]);
    stored.max.push_back(of->max[number]);
  }
  if (stored.columns.empty()) return check;
  const Statistics own = column_statistics(dataset, stored.columns, LastRow::include);
  std::string first, file;
  int64_t others = 0;
  for (std::size_t c = 0; c < own.columns.size(); ++c) {
    auto found = contradiction(stored, own, c);
    if (found.empty()) continue;
    if (!first.empty()) {
      ++others;
      continue;
    }
    first = std::move(found);
    file = places.at(own.columns[c]).of->file;
  }
  if (!first.empty())
    check.problem =
        fmt::format("{} was not made from these files: {}{}", file, first,
                    others > 0 ? fmt::format("; {} more column(s) differ", others) : std::string());
  return check;
}

}  // namespace foresight::data
