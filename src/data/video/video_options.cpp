// SPDX-License-Identifier: Apache-2.0
// What films and pictures may be asked for, with FFmpeg or without.
#include <cmath>

#include "foresight/data/video_reader.hpp"
#include "foresight/data/video_writer.hpp"

namespace foresight::data {

std::vector<std::string> VideoReaderOptions::validate() const {
  constexpr int64_t kMaxSide = 16384;
  Rules rules("VideoReaderOptions");
  rules.check(height >= 0 && height <= kMaxSide, "height", static_cast<double>(height),
              "must be 0 (the file's) or 1..16384");
  rules.check(width >= 0 && width <= kMaxSide, "width", static_cast<double>(width),
              "must be 0 (the file's) or 1..16384");
  rules.check((height == 0) == (width == 0), "width", static_cast<double>(width),
              "must be given together with height = " + std::to_string(height));
  return rules.problems();
}

std::vector<std::string> VideoWriterOptions::validate() const {
  Rules rules("VideoWriterOptions");
  rules.check(std::isfinite(fps) && fps >= 0.001 && fps <= 1000, "fps", fps, "must be 0.001..1000");
  rules.check(crf >= 0 && crf <= 63, "crf", static_cast<double>(crf), "must be 0..63");
  rules.check(key_interval >= 1 && key_interval <= 100000, "key_interval",
              static_cast<double>(key_interval), "must be 1..100000");
  rules.check(!encoder.empty(), "encoder", encoder,
              "must name an encoder, e.g. h264, av1, libx264");
  return rules.problems();
}

}  // namespace foresight::data
