// SPDX-License-Identifier: Apache-2.0
#include "lerobot_numbers.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "foresight/core/error.hpp"

namespace foresight::data {
namespace {

constexpr double kInfinity = std::numeric_limits<double>::infinity();

nlohmann::ordered_json number_json(const Tensor& value) {
  if (value.scalar_type() == at::kBool) return value.item<bool>();
  if (value.scalar_type() == at::kLong) return value.item<int64_t>();
  return value.item<double>();
}

// A tensor as nested lists.
nlohmann::ordered_json nested_json(const Tensor& values) {
  if (values.dim() == 0) return number_json(values);
  auto list = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < values.size(0); ++i) list.push_back(nested_json(values[i]));
  return list;
}

// Whether all numbers are whole: then they may have more digits than float64.
bool whole_numbers_only(const nlohmann::json& value) {
  if (!value.is_array()) return value.is_number_integer();
  return !value.empty() && std::all_of(value.begin(), value.end(), whole_numbers_only);
}

void flatten_whole(const nlohmann::json& value, std::vector<int64_t>& flat) {
  if (value.is_array())
    for (const auto& one : value) flatten_whole(one, flat);
  else
    flat.push_back(value.get<int64_t>());
}

void flatten_numbers(const nlohmann::json& value, std::vector<double>& flat) {
  if (value.is_array())
    for (const auto& one : value) flatten_numbers(one, flat);
  else if (value.is_boolean())
    flat.push_back(value.get<bool>() ? 1 : 0);
  else
    flat.push_back(value.is_number() ? value.get<double>() : std::nan(""));
}

// Flat: int64 of whole numbers, else float64; undefined if it is not there.
Tensor stored_statistic(const nlohmann::json& stats, const char* name) {
  if (!stats.is_object() || !stats.contains(name)) return {};
  if (whole_numbers_only(stats.at(name))) {
    std::vector<int64_t> whole;
    flatten_whole(stats.at(name), whole);
    return at::tensor(whole, at::kLong);
  }
  std::vector<double> flat;
  flatten_numbers(stats.at(name), flat);
  return at::tensor(flat, at::kDouble);
}

}  // namespace

std::vector<NamedStatistic> named_statistics(const FeatureStatistics& all, at::ScalarType limits) {
  std::vector<NamedStatistic> named = {{"min", all.min.to(limits)},
                                       {"max", all.max.to(limits)},
                                       {"mean", all.mean},
                                       {"std", all.std},
                                       {"count", at::full({1}, all.count, at::kLong)}};
  for (std::size_t q = 0; q < kQuantiles.size(); ++q)
    if (all.quantile[q].defined()) named.push_back({kQuantileNames[q], all.quantile[q]});
  return named;
}

nlohmann::ordered_json statistics_json(const FeatureStatistics& all, at::ScalarType limits,
                                       const std::vector<int64_t>& shape) {
  nlohmann::ordered_json stats;
  for (const auto& [name, values] : named_statistics(all, limits)) {
    const bool count = std::string_view(name) == "count";
    const Tensor told =  // of no value; what has overflowed stays, and is refused when written
        values.is_floating_point() ? at::nan_to_num(values, 0, kInfinity, -kInfinity) : values;
    stats[name] = nested_json(count ? told : told.view(shape));
  }
  if (!all.known.defined()) return stats;
  const bool whole = at::equal(all.known, all.known.trunc());
  stats[kKnownCount] = nested_json((whole ? all.known.to(at::kLong) : all.known).view(shape));
  return stats;
}

std::vector<int64_t> nested_shape(const nlohmann::json& lists) {
  std::vector<int64_t> sizes;
  for (const auto* list = &lists; list->is_array(); list = &list->front()) {
    sizes.push_back(static_cast<int64_t>(list->size()));
    if (list->empty()) break;
  }
  return sizes;
}

FeatureStatistics feature_statistics(const nlohmann::json& stats, const std::string& what) {
  const auto demand = [&](bool holds, const std::string& problem) {
    require(holds, ErrorCategory::bad_file, what + " " + problem);
  };
  FeatureStatistics all{.min = stored_statistic(stats, "min"),
                        .max = stored_statistic(stats, "max"),
                        .mean = stored_statistic(stats, "mean"),
                        .std = stored_statistic(stats, "std")};
  demand(all.min.defined() && all.max.defined() && all.mean.defined() && all.std.defined(),
         "lacks one of min, max, mean, std");
  const auto check = [&](const char* name, const Tensor& values) {
    demand(values.numel() == all.mean.numel() && values.numel() > 0,
           std::string(name) + " has " + std::to_string(values.numel()) + " numbers, its mean " +
               std::to_string(all.mean.numel()));
    demand(at::isfinite(values).all().item<bool>(),
           std::string(name) + " holds what is no finite number");
  };
  check("min", all.min);
  check("max", all.max);
  check("mean", all.mean);
  check("std", all.std);
  all.mean = all.mean.to(at::kDouble), all.std = all.std.to(at::kDouble);
  demand((all.min <= all.max).all().item<bool>(), "has a min above its max");
  demand((all.std >= 0).all().item<bool>(), "has a std below 0");
  for (std::size_t q = 0; q < kQuantiles.size(); ++q) {
    all.quantile[q] = stored_statistic(stats, kQuantileNames[q]);
    if (!all.quantile[q].defined()) continue;
    check(kQuantileNames[q], all.quantile[q]);
    all.quantile[q] = all.quantile[q].to(at::kDouble);
  }
  if (const Tensor count = stored_statistic(stats, "count"); count.defined()) {
    const double rows = count.numel() == 1 ? count.item<double>() : 0;
    demand(rows >= 1 && rows < 1e15 && rows == std::trunc(rows), "has a count that is none");
    all.count = static_cast<int64_t>(rows);
  }
  if (const Tensor known = stored_statistic(stats, kKnownCount); known.defined()) {
    check(kKnownCount, known);
    all.known = known.to(at::kDouble);
    demand(((all.known >= 0) & (all.known <= all.count)).all().item<bool>(),
           std::string(kKnownCount) + " is not of the rows that it counts");
  }
  return all;
}

}  // namespace foresight::data
