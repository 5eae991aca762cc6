// SPDX-License-Identifier: Apache-2.0
// RGB frames to an mp4 file (H.264, AV1 or HEVC): recorded episodes and films of planned ones.
#pragma once

#include <array>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// Resolution of the colour part of the picture.
enum class Chroma {
  yuv420,  ///< halved both ways: plays everywhere; height and width must be even
  yuv444,  ///< full: keeps thin coloured lines, any size; some players refuse it
};

/// How a film is encoded.
struct FORESIGHT_API VideoWriterOptions {
  double fps = 10;   ///< frames per second
  int64_t crf = 12;  ///< constant rate factor, 0 (best) to 51, AV1: to 63; 12 is visually lossless
  int64_t key_interval = 20;  ///< frames between key frames: short ones make random access cheap
  Chroma chroma = Chroma::yuv420;  ///< colour resolution
  std::string encoder = "h264";    ///< "h264", "av1" or "hevc": the first encoder of that kind that
                                   ///< this FFmpeg has and that takes the frames; or one by its
                                   ///< name in FFmpeg, e.g. "libx264", "libsvtav1", "h264_nvenc"
  std::string preset = {};         ///< speed against size, as the encoder names it; empty: medium

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("fps", self.fps, "frames per second");
    visit("crf", self.crf, "constant rate factor, 0..51, AV1: 0..63; 12 is visually lossless");
    visit("key_interval", self.key_interval, "frames between key frames");
    visit("chroma", self.chroma, "colour resolution: yuv420 or yuv444");
    visit("encoder", self.encoder, "h264, av1, hevc, or an encoder's name in FFmpeg");
    visit("preset", self.preset, "speed against size, as the encoder names it; empty: medium");
  }
  std::vector<std::string> validate() const;
};

/// Writes one mp4 file. Colours are BT.601, limited range, and the file says so. The file appears
/// under its name only when close() succeeds; a writer that is destroyed before leaves nothing
/// behind.
class FORESIGHT_API VideoWriter {
 public:
  /// Throws Error(unsupported) if this FFmpeg lacks the encoder or this build FFmpeg,
  /// Error(io_failure) if the folder cannot be written, Error(invalid_option) for options out of
  /// range. Nothing is opened before the first frame, whose size is the film's.
  explicit VideoWriter(std::filesystem::path path, const VideoWriterOptions& options = {});
  ~VideoWriter();
  VideoWriter(VideoWriter&&) noexcept;
  VideoWriter& operator=(VideoWriter&&) noexcept;

  /// Appends one frame [H,W,3] or several [N,H,W,3], uint8 on any device.
  /// Throws Error(invalid_argument) for another shape or type or a size other than the first
  /// frame's.
  void write(const Tensor& frames);
  int64_t frames_written() const noexcept;
  /// Size of the file so far; an encoder holds some frames back.
  int64_t bytes_written() const noexcept;
  /// Finishes the file and gives it its name. Throws Error(invalid_argument) if no frame was
  /// written.
  void close();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Whether there is FFmpeg and it has an encoder that VideoWriterOptions.encoder may name.
FORESIGHT_API bool has_video_encoder(const std::string& encoder = "h264");

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::Chroma> {
  static constexpr std::array<std::pair<std::string_view, data::Chroma>, 2> names = {
      {{"yuv420", data::Chroma::yuv420}, {"yuv444", data::Chroma::yuv444}}};
};
