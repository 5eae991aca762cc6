// SPDX-License-Identifier: Apache-2.0
#include "foresight/io/crc32c.hpp"

#include <array>
#include <bit>
#include <cstring>

#include "crc32c_by_table.hpp"
#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace foresight::io {
namespace {

static_assert(std::endian::native == std::endian::little, "eight bytes are read as one number");

using Table = std::array<std::uint32_t, 256>;

// tables[k][b]: the CRC register after byte b and then k zeros, so that eight bytes need no wait
// for each other.
constexpr std::array<Table, 8> crc_tables() {
  std::array<Table, 8> tables{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc & 1 ? crc >> 1 ^ 0x82f63b78u : crc >> 1;
    tables[0][i] = crc;
  }
  for (std::size_t k = 1; k < tables.size(); ++k)
    for (std::size_t i = 0; i < 256; ++i)
      tables[k][i] = tables[k - 1][i] >> 8 ^ tables[0][tables[k - 1][i] & 0xff];
  return tables;
}

#if defined(__x86_64__)
// The processor's own instruction: several times as fast as tables.
[[gnu::target("sse4.2")]] std::uint32_t by_instruction(std::string_view bytes,
                                                       std::uint32_t before) {
  std::uint64_t crc = ~before;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    crc = _mm_crc32_u64(crc, word);
  }
  for (; left > 0; ++at, --left)
    crc = _mm_crc32_u8(static_cast<std::uint32_t>(crc), static_cast<unsigned char>(*at));
  return ~static_cast<std::uint32_t>(crc);
}
#endif

}  // namespace

std::uint32_t crc32c(std::string_view bytes, std::uint32_t before) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return by_instruction(bytes, before);
#endif
  return crc32c_by_table(bytes, before);
}

std::uint32_t crc32c_by_table(std::string_view bytes, std::uint32_t before) {
  static constexpr auto kTables = crc_tables();
  std::uint32_t crc = ~before;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left >= 8; at += 8, left -= 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, at, sizeof word);
    word ^= crc;
    crc = 0;
    for (std::size_t k = 0; k < 8; ++k) crc ^= kTables[7 - k][word >> (8 * k) & 0xff];
  }
  for (; left > 0; ++at, --left)
    crc = kTables[0][(crc ^ static_cast<unsigned char>(*at)) & 0xff] ^ crc >> 8;
  return ~crc;
}

}  // namespace foresight::io
