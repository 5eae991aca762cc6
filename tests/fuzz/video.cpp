// SPDX-License-Identifier: Apache-2.0
// Bytes as a video. What is accepted has frames of one size, of which the first and last can be
// read, or are refused by name. Containers and codecs are FFmpeg's, with its own limits.
#include "foresight/core/log.hpp"
#include "foresight/data/video_reader.hpp"
#include "scratch_file.hpp"
#include "target.hpp"

namespace {

using namespace foresight;

void read_as_video(const std::string& path, data::Damage damage) {
  fuzz::accepts([&] {
    data::VideoReader reader(path, {.damage = damage});
    fuzz::promise(reader.num_frames() > 0, "a video without frames was accepted");
    for (const int64_t index : {int64_t{0}, reader.num_frames() - 1}) {
      Tensor frame;
      if (!fuzz::accepts([&] { frame = reader.frame(index); })) continue;
      fuzz::promise(frame.size(0) == reader.info().height && frame.size(1) == reader.info().width,
                    "a frame of another size than the video says");
    }
  });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const bool once = [] {
    set_log_level(LogLevel::off);
    return true;
  }();
  (void)once;
  const auto file = fuzz::scratch().put("film.mp4", fuzz::text(data, size));
  read_as_video(file.string(), data::Damage::fail);
  read_as_video(file.string(), data::Damage::skip);
  return 0;
}
