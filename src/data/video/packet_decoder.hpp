// SPDX-License-Identifier: Apache-2.0
// Frames straight from the packets of a file, for random access to many small clips: no demuxer is
// opened and nothing is sought, one decoder serves all files that were encoded alike, and only the
// packets that the wanted frames depend on are decoded. Private to the data folder.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "frame_table.hpp"
#include "rgb_converter.hpp"

namespace foresight::data {

/// Decodes and converts for streams with the same codec parameters. Not thread-safe.
class PacketDecoder {
 public:
  /// Throws as open_video_decoder().
  PacketDecoder(const FrameTable& table, const VideoReaderOptions& options,
                const std::string& path);

  bool fits(const FrameTable& table) const;
  /// Whether the decoder, as the last read() has left it, only needs to go on to show this frame.
  bool stands_before(const FrameTable& table, int64_t frame) const;
  /// Whether frames from this one on follow those of the last read(): as the next window does when
  /// windows are read one after the other, whether they overlap or not.
  bool follows(const FrameTable& table, int64_t first) const;
  /// Of the file before whose frames it stands.
  int64_t next_packet() const { return position_.packet; }
  int64_t packets_sent() const { return packets_sent_; }  ///< what all read() calls took
  int64_t height() const { return height_; }
  int64_t width() const { return width_; }

  /// Writes frames `wanted` of the file, in this order, each as height() * width() * 3 bytes. False
  /// where anything is unusual: bytes are missing, a picture is damaged or does not come. `out` is
  /// then undefined, and VideoReader says what is wrong, or reads the frames all the same.
  bool read(const FrameTable& table, const std::string& path, const std::vector<int64_t>& wanted,
            std::uint8_t* out);

 private:
  struct Run;     // frames that are decoded without a jump
  struct Wanted;  // what read() is asked for
  // Behind some frames: nothing that is shown later has been left out.
  struct Position {
    std::shared_ptr<const AVCodecParameters> file = {};  // of its table; none: nowhere
    int64_t packet = 0;                                  // the next one
    int64_t pts = 0;                                     // of the frame given out last
  };
  struct Last {  // frames that read() was asked for last
    std::shared_ptr<const AVCodecParameters> file = {};
    int64_t first = 0, last = 0;
    int64_t followed = 0;  // how many reads before it followed each other
  };
  std::size_t take_kept(const Wanted& wanted);
  int64_t most_kept() const;
  void keep();
  bool decode(const Wanted& wanted, const Run& run, bool following, bool keeping);
  bool send(const FrameTable& table, int descriptor, int64_t packet, bool shown);

  std::shared_ptr<const AVCodecParameters> stream_;
  std::array<int64_t, 2> time_base_;
  int64_t height_, width_;
  Position position_;
  Last last_;
  // While reads follow each other and overlap: the pictures before the position, without a gap, in
  // order.
  std::deque<ffmpeg::Frame> kept_;
  int64_t packets_sent_ = 0;
  ffmpeg::Codec codec_;
  ffmpeg::Packet packet_;
  ffmpeg::Frame frame_;
  RgbConverter converter_;
};

/// Has the system fetch the packets that frames `wanted` of a file depend on. A file that cannot be
/// opened is left to read().
void announce_packets(const FrameTable& table, const std::string& path,
                      std::vector<int64_t> wanted);

/// Idle decoders, most recently used first. Thread-safe.
class PacketDecoders {
 public:
  explicit PacketDecoders(VideoReaderOptions options) : options_(std::move(options)) {}
  /// One that fits the table, which must have packets; best of all one that `frame` follows, else
  /// the one that stands before it most closely.
  std::unique_ptr<PacketDecoder> take(const FrameTable& table, const std::string& path,
                                      int64_t frame);
  void give_back(std::unique_ptr<PacketDecoder> decoder);

 private:
  // A decoder of full HD holds some 60 MB; where overlapping reads follow each other, the pictures
  // that it keeps besides, 150 MB at most.
  static constexpr std::size_t kMostIdle = 16;

  VideoReaderOptions options_;
  std::mutex mutex_;
  std::list<std::unique_ptr<PacketDecoder>> idle_;
};

}  // namespace foresight::data
