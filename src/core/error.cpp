// SPDX-License-Identifier: Apache-2.0
#include "foresight/core/error.hpp"

#include <algorithm>
#include <numeric>
#include <vector>

#include "foresight/core/status.hpp"

namespace foresight {

Error::Error(ErrorCategory category, const std::string& message)
    : std::runtime_error(message), category_(category) {}

std::string_view to_string(ErrorCategory category) {
  switch (category) {
    case ErrorCategory::invalid_argument:
      return "invalid_argument";
    case ErrorCategory::invalid_option:
      return "invalid_option";
    case ErrorCategory::bad_file:
      return "bad_file";
    case ErrorCategory::not_found:
      return "not_found";
    case ErrorCategory::io_failure:
      return "io_failure";
    case ErrorCategory::unsupported:
      return "unsupported";
    case ErrorCategory::non_finite:
      return "non_finite";
  }
  return "unknown";
}

std::string_view to_string(Status status) {
  switch (status) {
    case Status::not_started:
      return "not_started";
    case Status::ok:
      return "ok";
    case Status::deadline_reached:
      return "deadline_reached";
    case Status::fell_back:
      return "fell_back";
    case Status::infeasible:
      return "infeasible";
    case Status::non_finite:
      return "non_finite";
    case Status::invalid_input:
      return "invalid_input";
    case Status::failed:
      return "failed";
  }
  return "unknown";
}

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t substitution = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({substitution, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

}  // namespace foresight
