// SPDX-License-Identifier: Apache-2.0
#include "coded_bytes.hpp"

#include <algorithm>
#include <array>
#include <string_view>

namespace foresight::data {
namespace {

// A number as mp4 stores it, the highest byte first.
std::uint64_t number_at(const unsigned char* bytes, int count) {
  std::uint64_t number = 0;
  for (int i = 0; i < count; ++i) number = number << 8 | bytes[i];
  return number;
}

// An mp4 is a row of boxes: their length, which counts itself, and four letters come first.
std::optional<CodedBytes> first_mdat(const io::Descriptor& file, std::int64_t bytes) {
  constexpr int kMostBoxes = 64;
  std::int64_t at = 0;
  for (int i = 0; i < kMostBoxes; ++i) {
    std::array<unsigned char, 16> head{};
    const auto got = ::pread(file.get(), head.data(), head.size(), at);
    if (got < 8) return {};
    std::uint64_t length = number_at(head.data(), 4);
    std::int64_t header = 8;
    const auto left = static_cast<std::uint64_t>(bytes - at);
    if (length == 0) {  // to the end of the file
      length = left;
    } else if (length == 1) {  // of 64 bits, behind the letters
      if (got < 16) return {};
      length = number_at(head.data() + 8, 8);
      header = 16;
    }
    if (length < static_cast<std::uint64_t>(header) || length > left) return {};
    const std::string_view letters(reinterpret_cast<const char*>(head.data()) + 4, 4);
    if (letters == "mdat")
      return CodedBytes{at + header, static_cast<std::int64_t>(length) - header};
    at += static_cast<std::int64_t>(length);
  }
  return {};
}

}  // namespace

std::optional<CodedBytes> coded_bytes(const std::filesystem::path& path, const FileStamp& then,
                                      std::optional<std::int64_t> count) {
  constexpr std::int64_t kEnd = 4096;
  std::optional<CodedBytes> found;
  if (const auto file = open_unchanged(path, then)) found = first_mdat(file, then.bytes);
  if (!found || found->count < std::max<std::int64_t>(1, count.value_or(1))) return {};
  found->count = count.value_or(found->count);
  Fnv1a hash;
  const auto last = found->offset + std::max<std::int64_t>(0, found->count - kEnd);
  if (!add_piece(hash, path, then, found->offset, found->count) ||
      !add_piece(hash, path, then, last, std::min(found->count, kEnd)))
    return {};
  found->ends = hash.value();
  return found;
}

}  // namespace foresight::data
