// SPDX-License-Identifier: Apache-2.0
// Option structs to and from JSON. Reading is strict: an unknown key is an error that suggests the
// nearest known one, and a value of the wrong type is an error that names the key's full path.
#pragma once

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <type_traits>
#include <vector>

#include "foresight/core/options.hpp"

namespace foresight {

namespace detail {

[[noreturn]] inline void wrong_type(const std::string& path, const nlohmann::json& value,
                                    const char* expected) {
  throw Error(ErrorCategory::invalid_option,
              path + " = " + value.dump() + " has the wrong type, expected " + expected);
}

template <class T>
struct IsVector : std::false_type {};
template <class T>
struct IsVector<std::vector<T>> : std::true_type {};

template <class T>
void read_value(T& target, const nlohmann::json& value, const std::string& path);

template <OptionStruct T>
void read_struct(T& target, const nlohmann::json& object, const std::string& path) {
  if (!object.is_object()) wrong_type(path, object, "an object");
  std::vector<std::string> known;
  T::fields(target, [&](const char* name, auto& field, const char*) {
    known.emplace_back(name);
    if (auto it = object.find(name); it != object.end()) read_value(field, *it, path + "." + name);
  });
  for (const auto& [key, unused] : object.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    const auto suggestion = nearest_name(key, known);
    throw Error(ErrorCategory::invalid_option,
                path + ": unknown key '" + key + "'" +
                    (suggestion.empty() ? std::string() : ", did you mean '" + suggestion + "'?"));
  }
}

template <class T>
void read_value(T& target, const nlohmann::json& value, const std::string& path) {
  if constexpr (OptionStruct<T>) {
    read_struct(target, value, path);
  } else if constexpr (NamedEnum<T>) {
    if (!value.is_string()) wrong_type(path, value, "a name");
    std::string accepted;
    for (const auto& [name, enumerator] : EnumNames<T>::names) {
      if (value.get<std::string>() == name) {
        target = enumerator;
        return;
      }
      accepted += (accepted.empty() ? "" : ", ") + std::string(name);
    }
    throw Error(ErrorCategory::invalid_option,
                path + " = " + value.dump() + " is unknown, accepted: " + accepted);
  } else if constexpr (IsVector<T>::value) {
    if (!value.is_array()) wrong_type(path, value, "an array");
    T items;
    for (std::size_t i = 0; i < value.size(); ++i) {
      typename T::value_type item{};
      read_value(item, value[i], path + "[" + std::to_string(i) + "]");
      items.push_back(std::move(item));
    }
    target = std::move(items);
  } else if constexpr (std::is_same_v<T, bool>) {
    if (!value.is_boolean()) wrong_type(path, value, "true or false");
    target = value.get<bool>();
  } else if constexpr (std::is_integral_v<T>) {
    if (!value.is_number_integer()) wrong_type(path, value, "an integer");
    if (value.is_number_unsigned() &&
        value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<T>::max()))
      wrong_type(path, value, "an integer that fits 64 bits");
    target = value.get<T>();
  } else if constexpr (std::is_floating_point_v<T>) {
    if (!value.is_number()) wrong_type(path, value, "a number");
    target = value.get<T>();
  } else {
    static_assert(std::is_same_v<T, std::string>, "option field of an unsupported type");
    if (!value.is_string()) wrong_type(path, value, "a string");
    target = value.get<std::string>();
  }
}

template <class T>
nlohmann::json write_value(const T& value) {
  if constexpr (OptionStruct<const T>) {
    auto object = nlohmann::json::object();
    T::fields(value, [&](const char* name, const auto& field, const char*) {
      object[name] = write_value(field);
    });
    return object;
  } else if constexpr (NamedEnum<T>) {
    return std::string(enum_name(value));
  } else if constexpr (IsVector<T>::value) {
    auto array = nlohmann::json::array();
    for (const auto& item : value)
      array.push_back(write_value(static_cast<const typename T::value_type&>(item)));
    return array;
  } else {
    return value;
  }
}

}  // namespace detail

/// Overwrites the fields of `options` that `object` names. Throws Error(invalid_option) on an
/// unknown key or a value of the wrong type; `name` opens the message ("config.json: planner").
/// Does not call validate().
template <OptionStruct Options>
void read_options(Options& options, const nlohmann::json& object, const std::string& name) {
  Options copy = options;  // all or nothing: a failed read changes nothing
  detail::read_struct(copy, object, name);
  options = std::move(copy);
}

/// Every field of `options`, defaults included.
template <OptionStruct Options>
nlohmann::json write_options(const Options& options) {
  return detail::write_value(options);
}

}  // namespace foresight
