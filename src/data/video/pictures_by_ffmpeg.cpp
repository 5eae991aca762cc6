// SPDX-License-Identifier: Apache-2.0
// What pictures need FFmpeg for: PNG files, and scaling.
#include <cstring>
#include <new>
#include <vector>

#include "picture.hpp"
#include "rgb_converter.hpp"

namespace foresight::data {

void require_png_decoder(const std::string& name) {
  require(avcodec_find_decoder(AV_CODEC_ID_PNG) != nullptr, ErrorCategory::unsupported,
          name + ": this FFmpeg reads no PNG");
}

Tensor decode_png_picture(std::string_view bytes, const std::string& name) {
  const auto check = [&](int code) {
    require(code >= 0, ErrorCategory::bad_file,
            name + ": is no whole PNG picture: " + ffmpeg::reason(code));
  };
  require_png_decoder(name);
  const AVCodec* codec = avcodec_find_decoder(AV_CODEC_ID_PNG);
  const ffmpeg::Codec decoder(avcodec_alloc_context3(codec));
  if (!decoder) throw std::bad_alloc();
  decoder->thread_count = 1;
  decoder->max_pixels = kLargestPicture;
  decoder->err_recognition |=
      AV_EF_CRCCHECK | AV_EF_EXPLODE;  // damage is an error, not a grey corner
  ffmpeg::redirect_log();
  ffmpeg::forget_log();
  check(avcodec_open2(decoder.get(), codec, nullptr));
  const auto packet = ffmpeg::make_packet();
  const auto frame = ffmpeg::make_frame();
  if (av_new_packet(packet.get(), static_cast<int>(bytes.size())) < 0) throw std::bad_alloc();
  std::memcpy(packet->data, bytes.data(), bytes.size());
  check(avcodec_send_packet(decoder.get(), packet.get()));
  check(avcodec_send_packet(decoder.get(), nullptr));
  check(avcodec_receive_frame(decoder.get(), frame.get()));
  Tensor picture = at::empty({frame->height, frame->width, 3}, at::kByte);
  RgbConverter(frame->height, frame->width, 0, Scaling::bilinear, ColourConversion::accurate)
      .convert(*frame, picture.mutable_data_ptr<std::uint8_t>(), name);
  return picture;
}

Tensor scaled_pictures(const Tensor& pictures, const VideoReaderOptions& options) {
  const int64_t height = pictures.size(1), width = pictures.size(2);
  Tensor resized = at::empty({pictures.size(0), options.height, options.width, 3}, at::kByte);
  RgbConverter converter(options.height, options.width, 0, options.scaling, options.conversion);
  const auto frame = ffmpeg::make_frame();
  frame->format = AV_PIX_FMT_RGB24;
  frame->height = static_cast<int>(height);
  frame->width = static_cast<int>(width);
  frame->linesize[0] = static_cast<int>(3 * width);
  const int64_t bytes = height * width * 3, count = pictures.size(0);
  if (count == 0) return resized;
  const auto* source = pictures.const_data_ptr<std::uint8_t>();
  // swscale reads some bytes behind a row's end. Behind the last picture there may be no memory, as
  // at the end of a mapped file: that one is copied to where there is.
  std::vector<std::uint8_t> last(static_cast<std::size_t>(bytes + AV_INPUT_BUFFER_PADDING_SIZE));
  std::memcpy(last.data(), source + (count - 1) * bytes, static_cast<std::size_t>(bytes));
  for (int64_t n = 0; n < count; ++n) {
    // swscale reads only; the frame does not own the pixels.
    frame->data[0] = n + 1 < count ? const_cast<std::uint8_t*>(source) + n * bytes : last.data();
    converter.convert(
        *frame, resized.mutable_data_ptr<std::uint8_t>() + n * options.height * options.width * 3,
        "picture");
  }
  return resized;
}

}  // namespace foresight::data
