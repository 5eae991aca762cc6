// SPDX-License-Identifier: Apache-2.0
// A video file opened for demuxing and decoding. Private to the data folder.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ffmpeg.hpp"
#include "foresight/data/video_reader.hpp"
#include "frame_table.hpp"

namespace foresight::data {

/// A decoder of one thread for a stream. Throws Error(unsupported | bad_file) naming `path`.
ffmpeg::Codec open_video_decoder(const AVCodecParameters& stream, AVRational time_base,
                                 const std::string& path);

/// Whether one decoder decodes both streams.
bool encoded_alike(const AVCodecParameters& a, const AVCodecParameters& b);

/// One decoded picture's state of health, see VideoFile::next_frame().
struct Damaged {
  int64_t pts;
  std::string what;
};

class PacketPass;

/// The demuxer and decoder of the main video stream of one file.
class VideoFile {
 public:
  /// Throws Error(not_found | bad_file | unsupported), see VideoReader.
  explicit VideoFile(std::string path);

  const std::string& path() const { return path_; }
  const AVFormatContext& input() const { return *input_; }
  const AVStream& stream() const { return *input_->streams[stream_]; }
  /// Degrees anticlockwise in [0, 360) that the display matrix asks for.
  double rotation() const;

  /// Goes back to the beginning by opening the file again: works for every container.
  void restart();
  /// Moves to the key frame at `dts` or an earlier one. False if the container cannot seek.
  bool seek(int64_t dts);
  /// The same for a key frame of the table. Most containers are sought by times of display: where
  /// pictures are reordered, by its time of decoding the key frame before it would be found.
  bool seek(const KeyFrame& key);
  /// Decodes the next picture in output order into frame(); false at the end of the stream.
  bool next_frame();
  const AVFrame& frame() const { return *frame_; }
  /// Presentation time of frame(); the decoder's best guess if the file has none.
  int64_t frame_pts() const;
  /// Problems since the last call, oldest first: packets that the decoder refused and pictures with
  /// concealed errors.
  std::vector<Damaged> take_damage();

  /// Table of frames without decoding; empty if packets cannot tell. From the header where that
  /// lists the packets, else by reading all of them. Leaves the position anywhere.
  std::optional<FrameTable> scan_packets();
  /// As scan_packets(), from the header of an mp4 and a few packets; empty where they cannot tell
  /// or do not agree, and where bytes do not lie in the file as the decoder takes them. Throws
  /// Error(bad_file) for a file that is cut.
  std::optional<FrameTable> scan_header();
  /// As scan_packets(), by reading all from where the file stands.
  std::optional<FrameTable> read_packets();
  /// Table of frames by decoding everything. Throws on damage with Damage::fail, warns with
  /// Damage::skip.
  FrameTable scan_frames(Damage damage);

 private:
  void open();
  bool is_mp4() const;
  bool agrees_with(const PacketPass& listed);
  bool agrees_behind(const PacketPass& listed, const KeyFrame& key);
  bool feed();
  bool read_packet();

  std::string path_;
  ffmpeg::Input input_;
  ffmpeg::Codec codec_;
  ffmpeg::Packet packet_;
  ffmpeg::Frame frame_;
  int stream_ = -1;
  bool flushing_ = false;
  bool read_ahead_ = false;  // packet_ is the next one to decode
  std::vector<Damaged> damage_;
  int read_error_ = 0;  // how the demuxer ended, 0 for a plain end of file
};

}  // namespace foresight::data
