// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/png.hpp"

#include <zlib.h>

#include <new>
#include <string_view>

#include "foresight/core/error.hpp"

namespace foresight::data {
namespace {

constexpr int64_t kLongestSide = 1 << 15;                    // well inside what readers take
constexpr std::size_t kLongestChunk = std::size_t{1} << 30;  // bytes; PNG allows below 2^31

std::string four_bytes(std::size_t value) {
  std::string bytes;
  for (const int shift : {24, 16, 8, 0}) bytes += static_cast<char>(value >> shift & 0xFF);
  return bytes;
}

// Its length, kind, content, and the checksum of the last two.
void append_chunk(std::string& png, std::string_view kind, std::string_view content) {
  png += four_bytes(content.size());
  const auto checked = png.size();
  png.append(kind).append(content);
  png += four_bytes(
      crc32_z(0, reinterpret_cast<const Bytef*>(png.data() + checked), png.size() - checked));
}

std::string deflated(const Tensor& bytes) {
  const auto size = static_cast<uLong>(bytes.numel());
  uLongf used = compressBound(size);
  std::string stream(used, '\0');
  const int code = compress2(reinterpret_cast<Bytef*>(stream.data()), &used,
                             bytes.const_data_ptr<std::uint8_t>(), size, Z_DEFAULT_COMPRESSION);
  if (code != Z_OK) throw std::bad_alloc();  // nothing else can be wrong
  stream.resize(used);
  return stream;
}

}  // namespace

std::string encode_png(const Tensor& picture) {
  check_shape("image", picture, {kAny, kAny, 3}, "[H,W,3]");
  require(
      picture.scalar_type() == at::kByte, ErrorCategory::invalid_argument,
      std::string("image has type ") + at::toString(picture.scalar_type()) + ", expected uint8");
  const auto height = picture.size(0), width = picture.size(1);
  require(height > 0 && width > 0 && height <= kLongestSide && width <= kLongestSide,
          ErrorCategory::invalid_argument,
          "image has " + std::to_string(width) + " x " + std::to_string(height) +
              " pixels, expected sides of 1 to " + std::to_string(kLongestSide));
  // Before each row stands how it is filtered: 0, not at all.
  const auto rows = picture.detach().to(at::kCPU).reshape({height, 3 * width});
  const auto stream = deflated(at::constant_pad_nd(rows, {1, 0}).contiguous());
  std::string png = "\x89PNG\r\n\x1A\n";
  // 8 bits a channel, RGB, deflated, filtered by rows, not interlaced.
  append_chunk(png, "IHDR",
               four_bytes(static_cast<std::size_t>(width)) +
                   four_bytes(static_cast<std::size_t>(height)) + std::string("\x08\x02\0\0\0", 5));
  for (std::size_t begin = 0; begin < stream.size(); begin += kLongestChunk)
    append_chunk(png, "IDAT", std::string_view(stream).substr(begin, kLongestChunk));
  append_chunk(png, "IEND", {});
  return png;
}

}  // namespace foresight::data
