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

std::vector<int64_t> read_position(const std::string& text,
                                   const std::vector<PositionField>& fields) {
  auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto fits = [&](bool so, const std::string& why) {
    require(so, ErrorCategory::bad_file,
            "checkpoint position '" + text + "' does not belong to this task: " + why);
  };
  fits(object.is_object(), "it is no JSON object");
  std::vector<int64_t> values;
  for (const auto& [name, absent] : fields) {
    const auto found = object.find(name);
    const auto quoted = std::string("'").append(name).append("'");
    fits(found != object.end() || absent, "it lacks " + quoted);
    if (found == object.end()) {
      values.push_back(*absent);
      continue;
    }
    fits(found->is_number_integer() && *found >= 0, quoted + " is no integer >= 0");
    values.push_back(found->get<int64_t>());
    object.erase(found);
  }
  fits(object.empty(), "it has also " + object.dump());
  return values;
}

}  // namespace foresight::train
