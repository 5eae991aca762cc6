// SPDX-License-Identifier: Apache-2.0
#include "packet_decoder.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <numeric>

#include "../io/descriptor.hpp"
#include "frame_pieces.hpp"
#include "video_file.hpp"

namespace foresight::data {
namespace {

bool encoded_alike(const AVCodecParameters& a, const AVCodecParameters& b) {
  return a.codec_id == b.codec_id && a.codec_tag == b.codec_tag && a.width == b.width &&
         a.height == b.height && a.format == b.format && a.video_delay == b.video_delay &&
         a.color_space == b.color_space && a.color_range == b.color_range &&
         a.extradata_size == b.extradata_size &&
         (a.extradata_size == 0 ||
          std::memcmp(a.extradata, b.extradata, static_cast<std::size_t>(a.extradata_size)) == 0);
}

// H.264 says which pictures no other refers to, and its decoder leaves them out when asked to.
// HEVC's mark of that name speaks of one temporal layer only: pictures of higher ones may refer to
// them.
bool skips_exactly(AVCodecID codec) { return codec == AV_CODEC_ID_H264; }

// H.264 and HEVC hold back 16 pictures at most.
constexpr int64_t kMostReordered = 16;

// The key frame that decoding must start from to show a time: the last one that is shown at or
// before it. Null if there is none.
const KeyFrame* key_before(const FrameTable& table, int64_t pts) {
  const auto after = std::upper_bound(table.keys.begin(), table.keys.end(), pts,
                                      [](int64_t t, const KeyFrame& key) { return t < key.pts; });
  return after == table.keys.begin() ? nullptr : &*(after - 1);
}

}  // namespace

// Places order[first]..order[last - 1] of the wanted frames, from packet `from` to packet `to`.
struct PacketDecoder::Run {
  std::size_t first = 0, last = 0;
  int64_t from = 0, to = 0;
};

PacketDecoder::PacketDecoder(const FrameTable& table, const VideoReaderOptions& options,
                             const std::string& path)
    : stream_(table.codec),
      time_base_(table.time_base),
      height_(options.height != 0 ? options.height : stream_->height),
      width_(options.width != 0 ? options.width : stream_->width),
      codec_(open_video_decoder(
          *stream_, {static_cast<int>(time_base_[0]), static_cast<int>(time_base_[1])}, path)),
      packet_(ffmpeg::make_packet()),
      frame_(ffmpeg::make_frame()),
      converter_(height_, width_, 0, options.scaling, options.conversion) {}

bool PacketDecoder::fits(const FrameTable& table) const {
  return time_base_ == table.time_base &&
         (stream_ == table.codec || encoded_alike(*stream_, *table.codec));
}

bool PacketDecoder::stands_before(const FrameTable& table, int64_t frame) const {
  if (position_.file != table.codec) return false;
  const int64_t pts = table.pts[static_cast<std::size_t>(frame)];
  const KeyFrame* key = key_before(table, pts);
  return position_.pts < pts && key != nullptr && key->packet < position_.packet;
}

bool PacketDecoder::read(const FrameTable& table, const std::string& path,
                         const std::vector<int64_t>& wanted, std::uint8_t* out) {
  const io::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  std::vector<std::size_t> order(wanted.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return wanted[a] < wanted[b]; });
  // Frames whose key frame lies before the end of what is decoded anyway, or right behind it, need
  // no jump.
  Run run;
  for (std::size_t i = 0; i < order.size(); ++i) {
    const auto frame = static_cast<std::size_t>(wanted[order[i]]);
    const KeyFrame* key = key_before(table, table.pts[frame]);
    const int64_t packet = table.packet_of[frame];
    if (key == nullptr || packet < key->packet) return false;
    if (run.last > run.first && key->packet > run.to + 1) {
      if (!decode(table, path, file.get(), run, wanted, order, out)) return false;
      run.first = run.last;
    }
    if (run.first == run.last) {
      run.from = key->packet;
      run.to = packet;
    }
    if (packet < run.from) return false;
    run.to = std::max(run.to, packet);
    run.last = i + 1;
  }
  return order.empty() || decode(table, path, file.get(), run, wanted, order, out);
}

bool PacketDecoder::send(const FrameTable& table, int descriptor, int64_t packet, bool shown) {
  const PacketPlace& place = table.packets[static_cast<std::size_t>(packet)];
  av_packet_unref(packet_.get());
  if (av_new_packet(packet_.get(), place.size) < 0) throw std::bad_alloc();
  if (::pread(descriptor, packet_->data, static_cast<std::size_t>(place.size), place.offset) !=
      place.size)
    return false;
  packet_->pts = place.pts;
  packet_->flags = place.flags;
  ++packets_sent_;
  codec_->skip_frame =
      shown || !skips_exactly(stream_->codec_id) ? AVDISCARD_DEFAULT : AVDISCARD_NONREF;
  return avcodec_send_packet(codec_.get(), packet_.get()) == 0;
}

bool PacketDecoder::decode(const FrameTable& table, const std::string& path, int descriptor,
                           const Run& run, const std::vector<int64_t>& wanted,
                           const std::vector<std::size_t>& order, std::uint8_t* out) {
  const int64_t bytes = height_ * width_ * 3;
  const auto frame_at = [&](std::size_t place) { return wanted[order[place]]; };
  std::vector<bool> shown(static_cast<std::size_t>(run.to - run.from + 1));
  for (std::size_t place = run.first; place < run.last; ++place)
    shown[static_cast<std::size_t>(table.packet_of[static_cast<std::size_t>(frame_at(place))] -
                                   run.from)] = true;
  // A long sequence of frames is one piece of an episode: what the decoder has begun is kept for
  // the next one.
  const bool sequence = run.last - run.first >= static_cast<std::size_t>(kPieceFrames) &&
                        frame_at(run.last - 1) - frame_at(run.first) ==
                            static_cast<int64_t>(run.last - run.first) - 1;
  const int64_t last_pts = table.pts[static_cast<std::size_t>(frame_at(run.last - 1))];
  std::size_t next = run.first;
  // Takes what the decoder has ready; false if something is wrong with it.
  const auto take = [&] {
    while (next < run.last && avcodec_receive_frame(codec_.get(), frame_.get()) == 0) {
      if (frame_->decode_error_flags != 0 || (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0)
        return false;
      const int64_t arrived = frame_->pts;
      const int64_t pts = table.pts[static_cast<std::size_t>(frame_at(next))];
      if (arrived == AV_NOPTS_VALUE || arrived > pts) return false;
      if (arrived < pts) continue;
      std::uint8_t* to = out + static_cast<int64_t>(order[next]) * bytes;
      converter_.convert(*frame_, to, path);
      const int64_t frame = frame_at(next);
      for (++next; next < run.last && frame_at(next) == frame; ++next)
        std::memcpy(out + static_cast<int64_t>(order[next]) * bytes, to,
                    static_cast<std::size_t>(bytes));
    }
    return true;
  };
  const bool goes_on = stands_before(table, frame_at(run.first));
  int64_t packet = goes_on ? position_.packet : run.from;
  position_ = {};
  if (!goes_on) avcodec_flush_buffers(codec_.get());
  if (goes_on && !take()) return false;
  for (; packet <= run.to && next < run.last; ++packet) {
    const bool later = sequence && table.packets[static_cast<std::size_t>(packet)].pts > last_pts;
    if (!send(table, descriptor, packet,
              later || shown[static_cast<std::size_t>(packet - run.from)]) ||
        !take())
      return false;
  }
  // Pictures that a decoder holds back, to reorder them, come behind some more packets, or at the
  // end of the stream, after which it cannot go on.
  const int64_t past =
      sequence ? std::min<int64_t>(packet + kMostReordered, std::ssize(table.packets)) : 0;
  for (; packet < past && next < run.last; ++packet)
    if (!send(table, descriptor, packet, /*shown=*/true) || !take()) return false;
  if (next == run.last) {
    if (sequence) position_ = {table.codec, packet, last_pts};
    return true;
  }
  avcodec_send_packet(codec_.get(), nullptr);
  return take() && next == run.last;
}

void announce_packets(const FrameTable& table, const std::string& path,
                      std::vector<int64_t> wanted) {
  if (table.packets.empty()) return;
  const io::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return;
  std::sort(wanted.begin(), wanted.end());
  int64_t next = 0;  // packets before it have been announced
  for (const int64_t frame : wanted) {
    const auto place = static_cast<std::size_t>(frame);
    const KeyFrame* key = key_before(table, table.pts[place]);
    const int64_t past = table.packet_of[place] + 1;
    if (key == nullptr || past <= next) continue;
    int64_t from = std::numeric_limits<int64_t>::max(), to = 0;  // bytes
    for (next = std::max(next, key->packet); next < past; ++next) {
      const PacketPlace& packet = table.packets[static_cast<std::size_t>(next)];
      from = std::min(from, packet.offset);
      to = std::max(to, packet.offset + packet.size);
    }
    if (from < to) ::posix_fadvise(file.get(), from, to - from, POSIX_FADV_WILLNEED);
  }
}

std::unique_ptr<PacketDecoder> PacketDecoders::take(const FrameTable& table,
                                                    const std::string& path, int64_t frame) {
  {
    const std::lock_guard lock(mutex_);
    auto found = std::find_if(idle_.begin(), idle_.end(), [&](const auto& decoder) {
      return decoder->stands_before(table, frame);
    });
    if (found == idle_.end())
      found = std::find_if(idle_.begin(), idle_.end(),
                           [&](const auto& decoder) { return decoder->fits(table); });
    if (found != idle_.end()) {
      auto decoder = std::move(*found);
      idle_.erase(found);
      return decoder;
    }
  }
  return std::make_unique<PacketDecoder>(table, options_, path);
}

void PacketDecoders::give_back(std::unique_ptr<PacketDecoder> decoder) {
  std::unique_ptr<PacketDecoder> oldest;  // closed outside the lock
  const std::lock_guard lock(mutex_);
  idle_.push_front(std::move(decoder));
  if (idle_.size() <= kMostIdle) return;
  oldest = std::move(idle_.back());
  idle_.pop_back();
}

}  // namespace foresight::data
