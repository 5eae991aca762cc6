// SPDX-License-Identifier: Apache-2.0
#include "rgb_converter.hpp"

#include <cstring>
#include <new>

namespace foresight::data {
namespace {

int scaler_flags(Scaling scaling, ColourConversion conversion) {
  int flags = SWS_BICUBIC;
  if (scaling == Scaling::bilinear) flags = SWS_BILINEAR;
  if (scaling == Scaling::area) flags = SWS_AREA;
  if (conversion == ColourConversion::accurate)
    flags |= SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_BITEXACT;
  return flags;
}

// The yuvj formats say "full range" by their name; swscale wants it said apart.
int plain_format(int format, bool& full_range) {
  switch (format) {
    case AV_PIX_FMT_YUVJ420P:
      full_range = true;
      return AV_PIX_FMT_YUV420P;
    case AV_PIX_FMT_YUVJ422P:
      full_range = true;
      return AV_PIX_FMT_YUV422P;
    case AV_PIX_FMT_YUVJ444P:
      full_range = true;
      return AV_PIX_FMT_YUV444P;
    case AV_PIX_FMT_YUVJ440P:
      full_range = true;
      return AV_PIX_FMT_YUV440P;
    case AV_PIX_FMT_YUVJ411P:
      full_range = true;
      return AV_PIX_FMT_YUV411P;
    default:
      return format;
  }
}

// out(r, c) of a picture turned anticlockwise; `in` rows are `stride` bytes apart, `out` is packed
// [height, width, 3].
void turn(const std::uint8_t* in, int64_t stride, int turns, int64_t height, int64_t width,
          std::uint8_t* out) {
  for (int64_t r = 0; r < height; ++r) {
    for (int64_t c = 0; c < width; ++c, out += 3) {
      int64_t y = r, x = c;
      if (turns == 1) {
        y = c;
        x = height - 1 - r;
      } else if (turns == 2) {
        y = height - 1 - r;
        x = width - 1 - c;
      } else if (turns == 3) {
        y = width - 1 - c;
        x = r;
      }
      std::memcpy(out, in + y * stride + 3 * x, 3);
    }
  }
}

}  // namespace

RgbConverter::RgbConverter(int64_t height, int64_t width, int quarter_turns, Scaling scaling,
                           ColourConversion conversion)
    : height_(height),
      width_(width),
      turns_(quarter_turns),
      flags_(scaler_flags(scaling, conversion)),
      rgb_(ffmpeg::make_frame()) {
  rgb_->format = AV_PIX_FMT_RGB24;
  rgb_->height = static_cast<int>(turns_ % 2 == 0 ? height : width);
  rgb_->width = static_cast<int>(turns_ % 2 == 0 ? width : height);
  if (av_frame_get_buffer(rgb_.get(), 64) < 0) throw std::bad_alloc();
}

void RgbConverter::configure(const AVFrame& frame, const std::string& path) {
  if (scaler_ && frame.width == source_width_ && frame.height == source_height_ &&
      frame.format == source_format_ && frame.colorspace == source_space_ &&
      frame.color_range == source_range_)
    return;
  bool full_range = frame.color_range == AVCOL_RANGE_JPEG;
  const int format = plain_format(frame.format, full_range);
  ffmpeg::forget_log();
  scaler_.reset(sws_getContext(frame.width, frame.height, static_cast<AVPixelFormat>(format),
                               rgb_->width, rgb_->height, AV_PIX_FMT_RGB24, flags_, nullptr,
                               nullptr, nullptr));
  if (!scaler_) {
    const char* name = av_get_pix_fmt_name(static_cast<AVPixelFormat>(frame.format));
    throw Error(ErrorCategory::unsupported,
                path + ": pixel format '" + (name ? name : "?") + "' cannot be converted to RGB");
  }
  // A bare context assumes BT.601; on BT.709 material that is off by 5 to 8 levels. Sources that
  // are RGB already refuse the call, which is fine.
  sws_setColorspaceDetails(scaler_.get(), sws_getCoefficients(frame.colorspace), full_range ? 1 : 0,
                           sws_getCoefficients(SWS_CS_DEFAULT), 1, 0, 1 << 16, 1 << 16);
  source_width_ = frame.width;
  source_height_ = frame.height;
  source_format_ = frame.format;
  source_space_ = frame.colorspace;
  source_range_ = frame.color_range;
}

void RgbConverter::convert(const AVFrame& frame, std::uint8_t* out, const std::string& path) {
  configure(frame, path);
  sws_scale(scaler_.get(), frame.data, frame.linesize, 0, frame.height, rgb_->data, rgb_->linesize);
  if (turns_ != 0) {
    turn(rgb_->data[0], rgb_->linesize[0], turns_, height_, width_, out);
    return;
  }
  for (int64_t r = 0; r < height_; ++r)
    std::memcpy(out + r * width_ * 3, rgb_->data[0] + r * rgb_->linesize[0],
                static_cast<std::size_t>(width_ * 3));
}

}  // namespace foresight::data
