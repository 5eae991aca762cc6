// SPDX-License-Identifier: Apache-2.0
#include "lerobot_numbers.hpp"

#include <algorithm>
#include <cmath>

namespace foresight::data {
namespace {

nlohmann::ordered_json number_json(const Tensor& value) {
  if (value.scalar_type() == at::kBool) return value.item<bool>();
  if (value.scalar_type() == at::kLong) return value.item<int64_t>();
  return value.item<double>();
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

nlohmann::ordered_json nested_json(const Tensor& values) {
  if (values.dim() == 0) return number_json(values);
  auto list = nlohmann::ordered_json::array();
  for (int64_t i = 0; i < values.size(0); ++i) list.push_back(nested_json(values[i]));
  return list;
}

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

}  // namespace foresight::data
