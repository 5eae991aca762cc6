// SPDX-License-Identifier: Apache-2.0
#include "foresight/viz/image.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "foresight/core/error.hpp"
#include "foresight/data/picture_file.hpp"
#include "foresight/data/png.hpp"

namespace foresight::viz {
namespace {

std::string base64(const std::vector<std::uint8_t>& bytes) {
  static constexpr char kAlphabet[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  text.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t i = 0; i < bytes.size(); i += 3) {
    const std::size_t left = std::min<std::size_t>(3, bytes.size() - i);
    std::uint32_t group = 0;
    for (std::size_t k = 0; k < 3; ++k) group = group << 8 | (k < left ? bytes[i + k] : 0u);
    for (std::size_t k = 0; k < 4; ++k)
      text += k <= left ? kAlphabet[group >> (18 - 6 * k) & 63] : '=';
  }
  return text;
}

}  // namespace

std::vector<std::uint8_t> encode_png(const Tensor& image) {
  const auto bytes = data::encode_png(image);
  return {bytes.begin(), bytes.end()};
}

Tensor decode_png(const std::vector<std::uint8_t>& bytes, const std::string& name) {
  static constexpr std::array<std::uint8_t, 8> kSignature = {0x89, 'P',  'N',  'G',
                                                             '\r', '\n', 0x1a, '\n'};
  require(bytes.size() > kSignature.size() &&
              std::equal(kSignature.begin(), kSignature.end(), bytes.begin()),
          ErrorCategory::bad_file,
          name + ": is not a PNG image: it does not start with the PNG signature");
  return data::decode_picture({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, name);
}

std::string png_data_uri(const Tensor& image) {
  return "data:image/png;base64," + base64(encode_png(image));
}

Tensor upscale_nearest(const Tensor& image, int64_t factor) {
  require(factor >= 1 && factor <= 64, ErrorCategory::invalid_argument,
          fmt::format("upscale_nearest: factor = {} must be 1 to 64", factor));
  check_shape("image", image, {kAny, kAny, kAny}, "[H,W,C]");
  return image.repeat_interleave(factor, 0).repeat_interleave(factor, 1);
}

}  // namespace foresight::viz
