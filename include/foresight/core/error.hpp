// SPDX-License-Identifier: Apache-2.0
// The one exception type. Misuse and bad files throw it; trouble in a control loop is a Status
// instead.
#pragma once

#include <stdexcept>
#include <string>
#include <string_view>

#include "foresight/core/export.hpp"

namespace foresight {

/// What kind of thing went wrong, so that a caller can decide whether to retry, ask or give up.
enum class ErrorCategory {
  invalid_argument,  ///< a tensor, size or call order that the function does not accept
  invalid_option,    ///< an option struct, JSON key or command-line value
  bad_file,          ///< a file that exists but is truncated, damaged, or of another format
  not_found,         ///< a file, field, column or tensor that is not there
  io_failure,        ///< the operating system refused: disk full, permission, device gone
  unsupported,       ///< valid, but this build or this class cannot do it
  non_finite,        ///< NaN or infinity where a finite number is required
};

/// Short name of a category, e.g. "bad_file".
FORESIGHT_API std::string_view to_string(ErrorCategory category);

/// Thrown for misuse and bad files. The message names the thing, its value, the rule it broke and
/// what would be accepted: "model.safetensors: tensor 'encoder.norm.weight' has shape [192],
/// expected [384]".
class FORESIGHT_API Error : public std::runtime_error {
 public:
  Error(ErrorCategory category, const std::string& message);
  ErrorCategory category() const noexcept { return category_; }

 private:
  ErrorCategory category_;
};

/// Throws Error(category, message) unless `condition` holds.
inline void require(bool condition, ErrorCategory category, const std::string& message) {
  if (!condition) throw Error(category, message);
}

/// The name in `known` closest to `wanted` (Levenshtein distance), or empty if none is near enough
/// to be a plausible typing error. Used by every "unknown key" message.
template <class Range>
std::string nearest_name(std::string_view wanted, const Range& known);

/// Levenshtein distance between two strings, in single-character edits.
FORESIGHT_API std::size_t edit_distance(std::string_view a, std::string_view b);

template <class Range>
std::string nearest_name(std::string_view wanted, const Range& known) {
  std::string best;
  std::size_t best_distance = wanted.size() / 2 + 2;  // further away is not a typing error
  for (const auto& name : known) {
    const auto distance = edit_distance(wanted, std::string_view(name));
    if (distance < best_distance) {
      best_distance = distance;
      best = std::string(name);
    }
  }
  return best;
}

}  // namespace foresight
