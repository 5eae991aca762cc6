// SPDX-License-Identifier: Apache-2.0
// A hash that tells bytes apart and is the same on every machine. Not for what somebody may forge.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace foresight {

/// Fowler, Noll and Vo's hash in its 64-bit variant 1a, with its offset basis and prime, of all
/// bytes that were added.
class Fnv1a {
 public:
  void add(const void* bytes, std::size_t size) {
    const auto* byte = static_cast<const unsigned char*>(bytes);
    for (std::size_t i = 0; i < size; ++i) hash_ = (hash_ ^ byte[i]) * 0x100000001b3U;
  }
  void add(std::string_view text) { add(text.data(), text.size()); }
  void add(std::int64_t number) { add(&number, sizeof number); }
  std::uint64_t value() const { return hash_; }

 private:
  std::uint64_t hash_ = 0xcbf29ce484222325U;
};

}  // namespace foresight
