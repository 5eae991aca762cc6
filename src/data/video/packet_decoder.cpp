// SPDX-License-Identifier: Apache-2.0
#include "packet_decoder.hpp"

#include <algorithm>
#include <cstring>
#include <iterator>
#include <limits>
#include <new>
#include <numeric>

#include "../../io/descriptor.hpp"
#include "frame_pieces.hpp"
#include "video_file.hpp"

namespace foresight::data {
namespace {

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

// Frames of a file, and where they go.
struct PacketDecoder::Wanted {
  const FrameTable& table;
  const std::string& path;
  int descriptor;
  const std::vector<int64_t>& frames;
  std::vector<std::size_t> order;  // places in `frames`, by frame
  std::uint8_t* out;
  int64_t bytes;  // of a frame

  int64_t frame(std::size_t place) const { return frames[order[place]]; }
  int64_t pts(std::size_t place) const { return table.pts[static_cast<std::size_t>(frame(place))]; }
  // Writes a picture to all places of its frame, from `place` on; the next place.
  std::size_t write(const AVFrame& picture, std::size_t place, RgbConverter& converter) const {
    std::uint8_t* to = out + static_cast<int64_t>(order[place]) * bytes;
    converter.convert(picture, to, path);
    const int64_t written = frame(place);
    for (++place; place < order.size() && frame(place) == written; ++place)
      std::memcpy(out + static_cast<int64_t>(order[place]) * bytes, to,
                  static_cast<std::size_t>(bytes));
    return place;
  }
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
  return position_.pts < pts && key != nullptr && key->packet <= position_.packet;
}

bool PacketDecoder::follows(const FrameTable& table, int64_t first) const {
  return last_.file == table.codec && first > last_.first && first <= last_.last + kMostReordered;
}

bool PacketDecoder::read(const FrameTable& table, const std::string& path,
                         const std::vector<int64_t>& frames, std::uint8_t* out) {
  if (frames.empty()) return true;
  const io::Descriptor file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return false;
  Wanted wanted{table, path, file.get(), frames, {}, out, height_ * width_ * 3};
  wanted.order.resize(frames.size());
  std::iota(wanted.order.begin(), wanted.order.end(), std::size_t{0});
  std::stable_sort(wanted.order.begin(), wanted.order.end(),
                   [&](std::size_t a, std::size_t b) { return frames[a] < frames[b]; });
  // In random order, too, a read may happen to follow another.
  const bool follows_last = follows(table, wanted.frame(0));
  const int64_t followed = follows_last ? last_.followed + 1 : 0;
  const bool overlaps = follows_last && wanted.frame(0) <= last_.last;
  last_ = {table.codec, wanted.frame(0), wanted.frame(frames.size() - 1), followed};
  const bool following = followed >= 2 && last_.last - last_.first < most_kept();
  // Pictures are kept only where they are asked for again.
  const bool keeping = following && overlaps;
  // Frames whose key frame lies before the end of what is decoded anyway, or right behind it, need
  // no jump.
  Run run;
  run.first = run.last = take_kept(wanted);
  if (!keeping) kept_.clear();
  for (std::size_t i = run.first; i < frames.size(); ++i) {
    const KeyFrame* key = key_before(table, wanted.pts(i));
    const int64_t packet = table.packet_of[static_cast<std::size_t>(wanted.frame(i))];
    if (key == nullptr || packet < key->packet) return false;
    if (run.last > run.first && key->packet > run.to + 1 && !keeping) {
      if (!decode(wanted, run, following, keeping)) return false;
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
  return run.first == run.last || decode(wanted, run, following, keeping);
}

// Writes those of the wanted frames that are kept; how many places that were.
std::size_t PacketDecoder::take_kept(const Wanted& wanted) {
  while (!kept_.empty() && kept_.front()->pts < wanted.pts(0)) kept_.pop_front();
  if (position_.file != wanted.table.codec || kept_.empty() ||
      kept_.front()->pts != wanted.pts(0)) {
    kept_.clear();
    return 0;
  }
  std::size_t place = 0;
  for (const auto& picture : kept_)
    if (place < wanted.order.size() && picture->pts == wanted.pts(place))
      place = wanted.write(*picture, place, converter_);
  return place;
}

int64_t PacketDecoder::most_kept() const {
  const int64_t bytes = int64_t{3} * stream_->height * stream_->width;  // most formats take less
  return std::max(kPieceFrames, kPieceBytes / bytes);
}

// Keeps the picture that has arrived.
void PacketDecoder::keep() {
  if (std::ssize(kept_) >= most_kept()) kept_.pop_front();
  kept_.push_back(ffmpeg::make_frame());
  if (av_frame_ref(kept_.back().get(), frame_.get()) < 0) throw std::bad_alloc();
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

bool PacketDecoder::decode(const Wanted& wanted, const Run& run, bool following, bool keeping) {
  const FrameTable& table = wanted.table;
  const bool goes_on = stands_before(table, wanted.frame(run.first)) ||
                       (keeping && run.first > 0 && position_.pts < wanted.pts(run.first));
  int64_t packet = goes_on ? position_.packet : run.from;
  const int64_t from = std::min(run.from, packet);
  std::vector<bool> shown(static_cast<std::size_t>(std::max(run.to, packet) - from + 1));
  for (std::size_t place = run.first; place < run.last; ++place)
    shown[static_cast<std::size_t>(table.packet_of[static_cast<std::size_t>(wanted.frame(place))] -
                                   from)] = true;
  // A long sequence of frames is one piece of an episode: what the decoder has begun is kept for
  // the next one. So it is where reads follow each other, behind the last jump, and where pictures
  // are kept, what lies between frames as well.
  const bool sequence =
      (following && run.last == wanted.order.size()) ||
      (run.last - run.first >= static_cast<std::size_t>(kPieceFrames) &&
       wanted.frame(run.last - 1) - wanted.frame(run.first) ==
           static_cast<int64_t>(run.last - run.first) - 1);
  const int64_t first_pts = wanted.pts(run.first), last_pts = wanted.pts(run.last - 1);
  std::size_t next = run.first;
  // Takes what the decoder has ready; false if something is wrong with it.
  const auto take = [&] {
    while (next < run.last && avcodec_receive_frame(codec_.get(), frame_.get()) == 0) {
      if (frame_->decode_error_flags != 0 || (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0)
        return false;
      const int64_t arrived = frame_->pts;
      const int64_t pts = wanted.pts(next);
      if (arrived == AV_NOPTS_VALUE || arrived > pts) return false;
      if (keeping && (arrived >= first_pts || !kept_.empty())) keep();
      if (arrived == pts) next = wanted.write(*frame_, next, converter_);
    }
    return true;
  };
  position_ = {};
  if (!goes_on) {
    kept_.clear();
    avcodec_flush_buffers(codec_.get());
  }
  if (goes_on && !take()) return false;
  bool whole = true;  // nothing that is shown later has been left out
  for (; packet <= run.to && next < run.last; ++packet) {
    const int64_t pts = table.packets[static_cast<std::size_t>(packet)].pts;
    const bool needed =
        shown[static_cast<std::size_t>(packet - from)] ||
        (keeping ? pts >= first_pts || !kept_.empty() : sequence && pts > last_pts);
    whole = whole && (needed || pts < last_pts || !skips_exactly(stream_->codec_id));
    if (!send(table, wanted.descriptor, packet, needed) || !take()) return false;
  }
  // Pictures that a decoder holds back, to reorder them, come behind some more packets, or at the
  // end of the stream, after which it cannot go on.
  const int64_t past =
      sequence ? std::min<int64_t>(packet + kMostReordered, std::ssize(table.packets)) : 0;
  for (; packet < past && next < run.last; ++packet)
    if (!send(table, wanted.descriptor, packet, /*shown=*/true) || !take()) return false;
  if (next == run.last) {
    if (whole) position_ = {table.codec, packet, last_pts};
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
      return decoder->follows(table, frame);
    });
    if (found == idle_.end())
      for (auto one = idle_.begin(); one != idle_.end(); ++one)
        if ((*one)->stands_before(table, frame) &&
            (found == idle_.end() || (*one)->next_packet() > (*found)->next_packet()))
          found = one;
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
