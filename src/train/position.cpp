// SPDX-License-Identifier: Apache-2.0
#include "position.hpp"

#include <nlohmann/json.hpp>

#include "foresight/core/error.hpp"

namespace foresight::train {

namespace {

constexpr const char* kUnreadable = "unreadable";

std::string dumped(const nlohmann::json& value) {
  return value.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

Names names_of(const nlohmann::json& object) {
  require(object.is_object(), ErrorCategory::bad_file, "names are no JSON object");
  Names names;
  for (const auto& [name, said] : object.items()) {
    require(said.is_string(), ErrorCategory::bad_file, "what is said of '" + name + "' is no text");
    names.emplace(name, said.get<std::string>());
  }
  return names;
}

}  // namespace

std::string write_names(const Names& names) { return dumped(nlohmann::json(names)); }

Names read_names(const std::string& text) {
  return names_of(nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false));
}

std::string write_position(const std::vector<std::pair<const char*, int64_t>>& values,
                           const Names& unreadable) {
  auto object = nlohmann::json::object();
  for (const auto& [name, value] : values) object[name] = value;
  if (!unreadable.empty()) object[kUnreadable] = unreadable;
  return dumped(object);
}

std::vector<int64_t> read_position(const std::string& text,
                                   const std::vector<PositionField>& fields, Names* unreadable) {
  auto object = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  const auto fits = [&](bool so, const std::string& why) {
    require(so, ErrorCategory::bad_file,
            "checkpoint position '" + text + "' does not belong to this task: " + why);
  };
  fits(object.is_object(), "it is no JSON object");
  if (unreadable != nullptr && object.contains(kUnreadable)) {
    *unreadable = names_of(object[kUnreadable]);
    object.erase(kUnreadable);
  }
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
