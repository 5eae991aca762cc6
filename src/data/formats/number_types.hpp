// SPDX-License-Identifier: Apache-2.0
// The types in which recordings are written, by the names that LeRobot and a folder's dataset.json
// have for them. Private to the data folder.
#pragma once

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>

#include "foresight/core/error.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

inline constexpr std::array<std::pair<std::string_view, at::ScalarType>, 4> kNumberTypes = {
    {{"float32", at::kFloat}, {"float64", at::kDouble}, {"int64", at::kLong}, {"bool", at::kBool}}};

/// The name of one of these types.
inline std::string number_type_name(at::ScalarType type) {
  const auto* found = std::find_if(kNumberTypes.begin(), kNumberTypes.end(),
                                   [&](const auto& one) { return one.second == type; });
  require(found != kNumberTypes.end(), ErrorCategory::invalid_argument,
          std::string("numbers of type ") + c10::toString(type) + " are not written");
  return std::string(found->first);
}

/// The type of a name; nothing of another one.
inline std::optional<at::ScalarType> number_type(std::string_view name) {
  const auto* found = std::find_if(kNumberTypes.begin(), kNumberTypes.end(),
                                   [&](const auto& one) { return one.first == name; });
  return found == kNumberTypes.end() ? std::nullopt : std::optional(found->second);
}

}  // namespace foresight::data
