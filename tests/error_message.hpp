// SPDX-License-Identifier: Apache-2.0
// What an operation that must fail says: tests check the category and look for words in the
// message.
#pragma once

#include <exception>
#include <string>

#include "foresight/core/error.hpp"

namespace foresight {

/// The message of the Error of `category` that `operation` throws. Anything else (no exception,
/// another category, another type) comes back as a description of what happened, which no expected
/// message equals.
template <class Operation>
std::string error_message(ErrorCategory category, Operation&& operation) {
  try {
    operation();
  } catch (const Error& error) {
    if (error.category() == category) return error.what();
    return "WRONG CATEGORY " + std::string(to_string(error.category()));
  } catch (const std::exception&) {
    return std::string("WRONG EXCEPTION TYPE");
  }
  return "NOTHING WAS THROWN";
}

/// Whether `operation` throws an Error of `category` whose message contains every one of `words`.
template <class Operation, class... Words>
bool fails_with(ErrorCategory category, Operation&& operation, const Words&... words) {
  const std::string message = error_message(category, operation);
  const bool threw = message != "NOTHING WAS THROWN" && message != "WRONG EXCEPTION TYPE" &&
                     !message.starts_with("WRONG CATEGORY");
  return threw && ((message.find(words) != std::string::npos) && ...);
}

}  // namespace foresight
