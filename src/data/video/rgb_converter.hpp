// SPDX-License-Identifier: Apache-2.0
// Decoded pictures to packed RGB: colour matrix and range of the picture, size, rotation. Private
// to the data folder.
#pragma once

#include <cstdint>
#include <vector>

#include "ffmpeg.hpp"
#include "foresight/data/video_reader.hpp"

namespace foresight::data {

/// Converts pictures to RGB24 of one fixed size.
class RgbConverter {
 public:
  /// `height`, `width`: of the result, after `quarter_turns` anticlockwise turns of 90 degrees.
  RgbConverter(int64_t height, int64_t width, int quarter_turns, Scaling scaling,
               ColourConversion conversion);

  /// Writes `frame` as height*width*3 bytes.
  void convert(const AVFrame& frame, std::uint8_t* out, const std::string& path);

 private:
  void configure(const AVFrame& frame, const std::string& path);

  int64_t height_, width_;
  int turns_;
  int flags_;
  ffmpeg::Scaler scaler_;
  ffmpeg::Frame rgb_;  // before rotation, rows padded: swscale writes past the end of a row
  // What scaler_ was made for; pictures may change within a stream.
  int source_width_ = 0, source_height_ = 0, source_format_ = -1, source_space_ = -1,
      source_range_ = -1;
};

}  // namespace foresight::data
