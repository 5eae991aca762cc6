// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/options.hpp"

#include <fmt/format.h>

#include <cmath>

namespace foresight {

Rules& Rules::check(bool holds, std::string_view field, double value, std::string_view rule) {
  if (!holds) problems_.push_back(fmt::format("{}.{} = {} {}", struct_name_, field, value, rule));
  return *this;
}

Rules& Rules::check(bool holds, std::string_view field, std::string_view value,
                    std::string_view rule) {
  if (!holds) problems_.push_back(fmt::format("{}.{} = '{}' {}", struct_name_, field, value, rule));
  return *this;
}

Rules& Rules::at_least(std::string_view field, double value, double low) {
  return check(value >= low, field, value, fmt::format("must be >= {}", low));
}

Rules& Rules::positive(std::string_view field, double value) {
  return check(std::isfinite(value) && value > 0, field, value, "must be positive and finite");
}

Rules& Rules::within(std::string_view field, double value, double low, double high) {
  const bool above = low > -kUnlimited, below = high < kUnlimited;
  const auto rule = above && below ? fmt::format("must be in [{}, {}]", low, high)
                    : above        ? fmt::format("must be finite and >= {}", low)
                    : below        ? fmt::format("must be finite and <= {}", high)
                                   : std::string("must be finite");
  return check(std::isfinite(value) && value >= low && value <= high, field, value, rule);
}

Rules& Rules::all_within(std::string_view field, const std::vector<double>& values, double low,
                         double high) {
  for (const double value : values) within(field, value, low, high);
  return *this;
}

Rules& Rules::not_empty(std::string_view field, const std::vector<double>& values) {
  return check(!values.empty(), field, "[]", "must have at least one value");
}

Rules& Rules::nested(std::string_view field, const std::vector<std::string>& problems) {
  for (const auto& problem : problems)
    problems_.push_back(fmt::format("{}.{}: {}", struct_name_, field, problem));
  return *this;
}

void throw_if_any(const std::vector<std::string>& problems) {
  if (problems.empty()) return;
  std::string message = problems.front();
  for (std::size_t i = 1; i < problems.size(); ++i) message += "\n" + problems[i];
  throw Error(ErrorCategory::invalid_option, message);
}

}  // namespace foresight
