// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/png.hpp"

#include <cstring>
#include <new>

#include "ffmpeg.hpp"
#include "foresight/core/error.hpp"

namespace foresight::data {
namespace {

constexpr int64_t kLongestSide = 1 << 15;  // well inside FFmpeg's limits

ffmpeg::Frame packed_rgb(const Tensor& pixels) {
  auto frame = ffmpeg::make_frame();
  frame->format = AV_PIX_FMT_RGB24;
  frame->height = static_cast<int>(pixels.size(0));
  frame->width = static_cast<int>(pixels.size(1));
  if (av_frame_get_buffer(frame.get(), 0) < 0) throw std::bad_alloc();
  const auto row_bytes = static_cast<std::size_t>(pixels.size(1)) * 3;
  for (int row = 0; row < frame->height; ++row)
    std::memcpy(frame->data[0] + static_cast<std::ptrdiff_t>(row) * frame->linesize[0],
                pixels.const_data_ptr<std::uint8_t>() + static_cast<std::size_t>(row) * row_bytes,
                row_bytes);
  return frame;
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
  ffmpeg::redirect_log();
  const AVCodec* encoder = avcodec_find_encoder(AV_CODEC_ID_PNG);
  require(encoder != nullptr, ErrorCategory::unsupported,
          "this FFmpeg was built without the PNG encoder");
  const ffmpeg::Codec codec(avcodec_alloc_context3(encoder));
  if (!codec) throw std::bad_alloc();
  codec->width = static_cast<int>(width);
  codec->height = static_cast<int>(height);
  codec->pix_fmt = AV_PIX_FMT_RGB24;
  codec->time_base = {1, 1};
  codec->thread_count = 1;
  int code = avcodec_open2(codec.get(), encoder, nullptr);
  require(code >= 0, ErrorCategory::unsupported,
          "FFmpeg's PNG encoder does not start: " + ffmpeg::reason(code));
  const auto frame = packed_rgb(picture.detach().to(at::kCPU).contiguous());
  const auto packet = ffmpeg::make_packet();
  code = avcodec_send_frame(codec.get(), frame.get());
  if (code >= 0) code = avcodec_send_frame(codec.get(), nullptr);
  if (code >= 0) code = avcodec_receive_packet(codec.get(), packet.get());
  require(code >= 0, ErrorCategory::io_failure,
          "FFmpeg cannot encode a PNG image: " + ffmpeg::reason(code));
  return {reinterpret_cast<const char*>(packet->data), static_cast<std::size_t>(packet->size)};
}

}  // namespace foresight::data
