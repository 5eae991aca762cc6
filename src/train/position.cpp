// SPDX-License-Identifier: Apache-2.0
#include "position.hpp"

#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"

namespace foresight::train {

std::string write_position(const std::vector<std::pair<const char*, int64_t>>& values) {
  auto object = nlohmann::json::object();
  for (const auto& [name, value] : values) object[name] = value;
  return object.dump();
}

std::vector<int64_t> read_position(const std::string& text, const std::vector<std::string>& names) {
  const auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  bool fits = object.is_object() && object.size() == names.size();
  std::vector<int64_t> values;
  for (const auto& name : names) {
    fits = fits && object.contains(name) && object[name].is_number_integer() &&
           object[name].get<int64_t>() >= 0;
    if (fits) values.push_back(object[name].get<int64_t>());
  }
  require(fits, ErrorCategory::bad_file,
          "checkpoint position '" + text + "' does not belong to this task");
  return values;
}

}  // namespace foresight::train
