// SPDX-License-Identifier: Apache-2.0
// A pass over the packets of a film, read or only listed, and the table of frames that it gives.
// Private to the data folder.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "../../io/descriptor.hpp"
#include "ffmpeg.hpp"
#include "frame_table.hpp"

namespace foresight::data {

/// What the packets seen so far tell.
class PacketPass {
 public:
  /// `plain`: whether its bytes lie in the file as the decoder takes them.
  void add(const AVPacket& packet, bool plain);
  int64_t packets() const { return packets_; }
  /// Whether all packets were plain and can be read without the demuxer.
  bool plain() const { return plain_; }
  /// Those that were seen while all were plain, in decoding order.
  const std::vector<PacketPlace>& places() const { return places_; }
  const std::vector<KeyFrame>& keys() const { return keys_; }

  /// Empty if the times of the packets do not tell the frames of such a stream. `placed`: whether
  /// frames may be decoded from where the packets lie.
  std::optional<FrameTable> table(const AVCodecParameters& stream, bool placed) &&;

 private:
  void place_packets(FrameTable& table, const AVCodecParameters& stream);

  std::vector<int64_t> pts_;  // of packets that are shown
  std::vector<KeyFrame> keys_;
  std::vector<PacketPlace> places_;
  int64_t packets_ = 0;
  bool plain_ = true, timed_ = true, reordered_ = false;
};

/// Compares packets with what lies in the file where they say that they come from: some demuxers
/// split, join or rewrite what is stored.
class StoredBytes {
 public:
  explicit StoredBytes(const std::string& path)
      : file_(::open(path.c_str(), O_RDONLY | O_CLOEXEC)) {}
  bool are(const AVPacket& packet);

 private:
  io::Descriptor file_;
  std::vector<std::uint8_t> bytes_;
};

/// How many packets the header of the file, as far as it was read, lists for a stream.
int64_t listed_packets(const AVStream& stream);

/// Whether packets of the codec come as the header of an mp4 lists them: no parser joins, splits or
/// drops them.
bool listed_as_read(AVCodecID codec);

/// Visits the packets of a stream of an mp4 as its demuxer, `format`, hands them out, but without
/// their bytes: those are never read, only the header that lists them (and that of every fragment).
/// Flags are what the header says. False where the demuxer does not follow its list; throws
/// Error(bad_file) for a packet that lies beyond the end of the file.
bool visit_listed_packets(const std::string& path, decltype(AVFormatContext::iformat) format,
                          int stream, const std::function<void(const AVPacket&)>& visit);

}  // namespace foresight::data
