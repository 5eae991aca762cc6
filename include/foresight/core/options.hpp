// SPDX-License-Identifier: Apache-2.0
// Option structs that describe themselves. A struct lists its fields once,
//
//   struct CemOptions {
//     int64_t samples = 300;  ///< candidates per iteration; LeWM uses 300
//     template <class Self, class Visitor>
//     static void fields(Self& self, Visitor&& visit) {
//       visit("samples", self.samples, "candidates per iteration; LeWM uses 300");
//     }
//     std::vector<std::string> validate() const;
//   };
//
// and from that list come JSON reading and writing (core/options_json.hpp), the command line flags
// with their defaults, and the help text. Fields may be bool, int64_t, double, std::string,
// std::vector of those, an enum that specialises EnumNames, or another struct with fields().
#pragma once

#include <array>
#include <limits>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "foresight/core/error.hpp"
#include "foresight/core/export.hpp"

namespace foresight {

/// Specialise with `static constexpr std::array<std::pair<std::string_view, E>, N> names` to let an
/// enum be an option value. Values are written as in the code: "deadline_reached".
template <class Enum>
struct EnumNames;

template <class T>
concept NamedEnum = requires {
  EnumNames<T>::names;
};

/// Name of an enumerator that has EnumNames.
template <NamedEnum Enum>
std::string_view enum_name(Enum value) {
  for (const auto& [name, candidate] : EnumNames<Enum>::names)
    if (candidate == value) return name;
  return "?";
}

namespace detail {
struct AnyVisitor {
  template <class T>
  void operator()(const char*, T&, const char*) const {}
};
}  // namespace detail

/// A struct that lists its fields as shown at the top of this file.
template <class T>
concept OptionStruct = requires(T& options) {
  T::fields(options, detail::AnyVisitor{});
};

/// Collects broken rules: each line reads "CemOptions.elites = 400 must be <= samples = 300".
class FORESIGHT_API Rules {
 public:
  static constexpr double kUnlimited = std::numeric_limits<double>::infinity();

  explicit Rules(std::string struct_name) : struct_name_(std::move(struct_name)) {}

  /// Records a problem with `field` unless `holds`; `rule` completes "Struct.field = value <rule>".
  Rules& check(bool holds, std::string_view field, double value, std::string_view rule);
  Rules& check(bool holds, std::string_view field, std::string_view value, std::string_view rule);
  /// value >= low.
  Rules& at_least(std::string_view field, double value, double low);
  /// Finite and > 0.
  Rules& positive(std::string_view field, double value);
  /// Finite and in [low, high].
  Rules& within(std::string_view field, double value, double low, double high = kUnlimited);
  /// Every value finite and in [low, high].
  Rules& all_within(std::string_view field, const std::vector<double>& values,
                    double low = -kUnlimited, double high = kUnlimited);
  /// At least one value.
  Rules& not_empty(std::string_view field, const std::vector<double>& values);
  /// Adds the problems of a nested struct under "field: ".
  Rules& nested(std::string_view field, const std::vector<std::string>& problems);

  std::vector<std::string> problems() const { return problems_; }

 private:
  std::string struct_name_;
  std::vector<std::string> problems_;
};

/// Throws Error(invalid_option) that lists every problem, one a line.
FORESIGHT_API void throw_if_any(const std::vector<std::string>& problems);

/// Throws unless options.validate() is empty.
template <class Options>
void require_valid(const Options& options) {
  throw_if_any(options.validate());
}

}  // namespace foresight
