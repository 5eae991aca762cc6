// SPDX-License-Identifier: Apache-2.0
// What every fuzz target shares: the entry point's name and the one rule. Untrusted bytes may be
// refused with a foresight::Error; anything else (another exception, a broken promise of a value
// that was accepted) is a finding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>

#include "foresight/core/error.hpp"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace foresight::fuzz {

inline std::string_view text(const std::uint8_t* data, std::size_t size) {
  return {reinterpret_cast<const char*>(data), size};
}

/// Runs `parse`; false if it refused its input with an Error, whose message must not be empty.
template <class Parse>
bool accepts(Parse&& parse) {
  try {
    parse();
    return true;
  } catch (const Error& error) {
    if (std::string_view(error.what()).empty())
      throw std::logic_error("an Error without a message");
    return false;
  }
}

/// A promise about accepted input.
inline void promise(bool holds, const char* what) {
  if (!holds) throw std::logic_error(what);
}

}  // namespace foresight::fuzz
