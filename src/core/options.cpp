// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/options.hpp"

#include <fmt/format.h>

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
