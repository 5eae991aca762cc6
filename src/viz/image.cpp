// SPDX-License-Identifier: Apache-2.0
// PNG in and out through FFmpeg.
#include "foresight/viz/image.hpp"

extern "C" {
#include <libavcodec/avcodec.h>
#include <libavutil/frame.h>
#include <libswscale/swscale.h>
}

#include <fmt/format.h>

#include <cstring>
#include <memory>

#include "foresight/core/error.hpp"
#include "foresight/data/png.hpp"

namespace foresight::viz {
namespace {

struct Free {
  void operator()(AVCodecContext* context) const { avcodec_free_context(&context); }
  void operator()(AVFrame* frame) const { av_frame_free(&frame); }
  void operator()(AVPacket* packet) const { av_packet_free(&packet); }
  void operator()(SwsContext* converter) const { sws_freeContext(converter); }
};
template <class T>
using Owned = std::unique_ptr<T, Free>;

std::string reason(int code) {
  std::array<char, AV_ERROR_MAX_STRING_SIZE> text{};
  av_strerror(code, text.data(), text.size());
  return text.data();
}

Owned<AVCodecContext> open_decoder() {
  const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_PNG);
  require(codec != nullptr, ErrorCategory::unsupported,
          "this FFmpeg was built without the PNG decoder");
  Owned<AVCodecContext> context(avcodec_alloc_context3(codec));
  require(context != nullptr, ErrorCategory::io_failure, "out of memory for a PNG image");
  context->thread_count = 1;
  const int code = avcodec_open2(context.get(), codec, nullptr);
  require(code >= 0, ErrorCategory::unsupported,
          "FFmpeg's PNG decoder does not start: " + reason(code));
  return context;
}

/// Packed RGB rows of any frame that swscale can convert. Alpha is dropped.
Tensor to_rgb(const AVFrame& frame, const std::string& name) {
  auto image = at::empty({frame.height, frame.width, 3}, at::kByte);
  const Owned<SwsContext> converter(sws_getContext(
      frame.width, frame.height, static_cast<AVPixelFormat>(frame.format), frame.width,
      frame.height, AV_PIX_FMT_RGB24, SWS_POINT, nullptr, nullptr, nullptr));
  require(converter != nullptr, ErrorCategory::bad_file,
          name + ": its pixels cannot be converted to 8-bit RGB");
  // One padded row buffer: swscale may write a little beyond the end of a packed row.
  const int stride = (3 * frame.width + 63) / 64 * 64;
  auto rows = at::empty({frame.height, stride}, at::kByte);
  std::array<std::uint8_t*, 4> planes = {rows.data_ptr<std::uint8_t>()};
  const std::array<int, 4> strides = {stride};
  const int done = sws_scale(converter.get(), frame.data, frame.linesize, 0, frame.height,
                             planes.data(), strides.data());
  require(done == frame.height, ErrorCategory::bad_file, name + ": its pixels cannot be converted");
  image.copy_(rows.narrow(1, 0, 3 * frame.width).view({frame.height, frame.width, 3}));
  return image;
}

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
  require(bytes.size() < (std::size_t{1} << 30), ErrorCategory::bad_file,
          fmt::format("{}: has {} bytes, expected a PNG image below 1 GiB", name, bytes.size()));
  const auto context = open_decoder();
  context->err_recognition |=
      AV_EF_CRCCHECK | AV_EF_EXPLODE;  // damage is an error, not a grey corner
  const Owned<AVFrame> frame(av_frame_alloc());
  const Owned<AVPacket> packet(av_packet_alloc());
  require(frame && packet && av_new_packet(packet.get(), static_cast<int>(bytes.size())) >= 0,
          ErrorCategory::io_failure, "out of memory for a PNG image");
  std::memcpy(packet->data, bytes.data(), bytes.size());
  int code = avcodec_send_packet(context.get(), packet.get());
  if (code >= 0) code = avcodec_send_packet(context.get(), nullptr);
  if (code >= 0) code = avcodec_receive_frame(context.get(), frame.get());
  require(code >= 0, ErrorCategory::bad_file, name + ": a damaged PNG image: " + reason(code));
  return to_rgb(*frame, name);
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
