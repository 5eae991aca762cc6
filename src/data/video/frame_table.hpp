// SPDX-License-Identifier: Apache-2.0
// What is known of a video file without decoding it: when its frames are shown, where decoding can
// start, and where its packets lie. Compiles without FFmpeg. Private to the data folder.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

struct AVCodecParameters;

namespace foresight::data {

/// A packet from which decoding can start. `pts` may lie before the first visible frame (edit
/// lists).
struct KeyFrame {
  int64_t pts;
  int64_t dts;
  int64_t packet = 0;  ///< its number in decoding order
};

/// Where the bytes of a packet lie in the file.
struct PacketPlace {
  int64_t offset = 0;
  int64_t pts = 0;
  int32_t size = 0;
  int32_t flags = 0;  ///< AV_PKT_FLAG_*
};

/// Presentation times in display order, and where decoding can start.
struct FrameTable {
  std::vector<int64_t> pts;
  std::vector<KeyFrame> keys;  // ascending pts
  /// Times do not identify frames (not ascending, or frames were lost to damage): they must be
  /// counted from the start.
  bool counted = false;
  /// Frame numbers ordered by pts; empty: as they are numbered.
  std::vector<int64_t> by_time;
  std::array<int64_t, 2> time_base = {0, 1};  ///< seconds per tick of pts, as a fraction

  /// All packets in decoding order, if their bytes lie in the file as the decoder takes them and
  /// the file asks for no rotation; else empty. Decoding then needs neither the demuxer nor a seek.
  std::vector<PacketPlace> packets;
  std::vector<int64_t> packet_of;                  ///< by frame number; empty without packets
  std::shared_ptr<const AVCodecParameters> codec;  ///< of the stream; none without packets

  /// Fills by_time and sets time_base.
  void order_by_time(const std::array<int64_t, 2>& ticks);
  double time(int64_t frame) const;
  /// As VideoReader::nearest() and on_display(), for a finite time.
  int64_t nearest(double seconds) const;
  int64_t on_display(double seconds) const;
};

}  // namespace foresight::data
