// SPDX-License-Identifier: Apache-2.0
// Strict reading of a Hugging Face config.json: every key is either asked for or known not to
// matter; any other is an error, because it may change the network.
#pragma once

#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <set>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"
#include "foresight/nn/activation.hpp"

namespace foresight::models {

/// Reads the values of one configuration; every message opens with `name` and names the key, its
/// value and what is expected. Errors are of category bad_file, unsupported where the value is
/// valid but not known here.
class FORESIGHT_API HfConfig {
 public:
  /// Keeps a reference to `object`, which must be an object and outlive this.
  HfConfig(const nlohmann::json& object, std::string name);

  /// An integer in 1..2^24. Without a default the key is required. null counts as missing.
  int64_t positive(std::string_view key, std::optional<int64_t> otherwise = {});
  /// An integer in 0..2^24.
  int64_t count(std::string_view key, std::optional<int64_t> otherwise = {});
  /// A finite number > 0.
  double number(std::string_view key, std::optional<double> otherwise = {});
  bool flag(std::string_view key, std::optional<bool> otherwise = {});
  std::string text(std::string_view key, std::optional<std::string> otherwise = {});
  /// An edge in pixels: a number, or two equal ones.
  int64_t edge(std::string_view key, std::optional<int64_t> otherwise = {});
  /// transformers' name of a nonlinearity.
  nn::Activation activation(std::string_view key, std::optional<std::string> otherwise = {});

  /// Error(unsupported) unless the key is missing or has this value.
  void expect(std::string_view key, const nlohmann::json& value);
  /// Keys of this family that do not change what is computed at inference (dropout, initial
  /// weights, backbone outputs).
  void ignore(std::initializer_list<std::string_view> keys);
  /// Throws Error(bad_file) on a key that was not read, nor is ignored, nor belongs to every
  /// transformers configuration.
  void finish() const;

  const std::string& name() const noexcept { return name_; }

 private:
  const nlohmann::json* find(std::string_view key);
  int64_t integer(std::string_view key, int64_t smallest, std::optional<int64_t> otherwise);
  [[noreturn]] void missing(std::string_view key) const;
  [[noreturn]] void wrong(std::string_view key, const nlohmann::json& value,
                          std::string_view expected) const;

  const nlohmann::json& object_;
  std::string name_;
  std::set<std::string, std::less<>> known_;
};

}  // namespace foresight::models
