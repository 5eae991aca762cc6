// SPDX-License-Identifier: Apache-2.0
// Entries of the config.json that stable-worldmodel writes beside weights: one object a part.
#pragma once

#include <nlohmann/json.hpp>

namespace foresight::models {

/// upstream[section][key], or null.
inline nlohmann::json upstream_entry(const nlohmann::json& upstream, const char* section,
                                     const char* key) {
  if (!upstream.is_object() || !upstream.contains(section)) return nullptr;
  const auto& object = upstream[section];
  return object.is_object() && object.contains(key) ? object[key] : nlohmann::json();
}

/// The same where it is an integer, else 0.
inline int64_t upstream_integer(const nlohmann::json& upstream, const char* section,
                                const char* key) {
  const auto value = upstream_entry(upstream, section, key);
  return value.is_number_integer() ? value.get<int64_t>() : 0;
}

}  // namespace foresight::models
