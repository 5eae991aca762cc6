// SPDX-License-Identifier: Apache-2.0
#include "packet_pass.hpp"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <memory>
#include <new>

#include "foresight/core/error.hpp"

namespace foresight::data {

void PacketPass::add(const AVPacket& packet, bool plain) {
  const int64_t number = packets_++;
  plain_ = plain_ && plain && packet.pos >= 0 && packet.size > 0 && packet.side_data_elems == 0 &&
           packet.pts != AV_NOPTS_VALUE;
  constexpr int kKept = AV_PKT_FLAG_KEY | AV_PKT_FLAG_DISCARD;
  if (plain_) places_.push_back({packet.pos, packet.pts, packet.size, packet.flags & kKept});
  if (packet.pts == AV_NOPTS_VALUE) {
    timed_ = false;
    return;
  }
  reordered_ |= packet.dts != packet.pts;
  if ((packet.flags & AV_PKT_FLAG_KEY) != 0)
    keys_.push_back({packet.pts, packet.dts != AV_NOPTS_VALUE ? packet.dts : packet.pts, number});
  if ((packet.flags & AV_PKT_FLAG_DISCARD) == 0) pts_.push_back(packet.pts);
}

std::optional<FrameTable> PacketPass::table(const AVCodecParameters& stream, bool placed) && {
  // A decoder that reorders (B-frames) and packets whose times say that nothing is reordered
  // contradict each other.
  if (!timed_ || (stream.video_delay > 0 && !reordered_ && pts_.size() > 1)) return std::nullopt;
  std::sort(pts_.begin(), pts_.end());
  if (std::adjacent_find(pts_.begin(), pts_.end()) != pts_.end()) return std::nullopt;
  std::sort(keys_.begin(), keys_.end(),
            [](const KeyFrame& a, const KeyFrame& b) { return a.pts < b.pts; });
  FrameTable table;
  table.pts = std::move(pts_);
  table.keys = std::move(keys_);
  if (placed && plain_ && !places_.empty()) place_packets(table, stream);
  return table;
}

void PacketPass::place_packets(FrameTable& table, const AVCodecParameters& stream) {
  table.packet_of.assign(table.pts.size(), -1);
  for (std::size_t p = 0; p < places_.size(); ++p) {
    if ((places_[p].flags & AV_PKT_FLAG_DISCARD) != 0) continue;
    const auto at = std::lower_bound(table.pts.begin(), table.pts.end(), places_[p].pts);
    table.packet_of[static_cast<std::size_t>(at - table.pts.begin())] = static_cast<int64_t>(p);
  }
  AVCodecParameters* copy = avcodec_parameters_alloc();
  if (copy == nullptr) throw std::bad_alloc();
  table.codec = std::shared_ptr<const AVCodecParameters>(
      copy, [](AVCodecParameters* owned) { avcodec_parameters_free(&owned); });
  if (avcodec_parameters_copy(copy, &stream) < 0) throw std::bad_alloc();
  table.packets = std::move(places_);
}

bool StoredBytes::are(const AVPacket& packet) {
  if (!file_ || packet.pos < 0 || packet.size <= 0) return false;
  bytes_.resize(static_cast<std::size_t>(packet.size));
  return ::pread(file_.get(), bytes_.data(), bytes_.size(), packet.pos) == packet.size &&
         std::memcmp(bytes_.data(), packet.data, bytes_.size()) == 0;
}

bool listed_as_read(AVCodecID codec) {
  switch (codec) {
    case AV_CODEC_ID_H264:
    case AV_CODEC_ID_HEVC:
    case AV_CODEC_ID_AV1:
    case AV_CODEC_ID_VP9:
    case AV_CODEC_ID_MPEG4:
    case AV_CODEC_ID_MJPEG:
      return true;
    default:
      return false;
  }
}

int64_t listed_packets(const AVStream& stream) {
#if LIBAVFORMAT_VERSION_MAJOR >= 59
  return avformat_index_get_entries_count(&stream);
#else
  return stream.nb_index_entries;
#endif
}

namespace {

constexpr int kBuffer = 1 << 15;

// A file whose bytes are there, but for those of the next packet and what lies before it: they are
// said to be read, and have no value.
class SkippedFile {
 public:
  explicit SkippedFile(const std::string& path)
      : file_(io::open_regular(AT_FDCWD, path, path, status_)) {
    auto* buffer = static_cast<unsigned char*>(av_malloc(kBuffer));
    if (buffer == nullptr) throw std::bad_alloc();
    context_ = avio_alloc_context(buffer, kBuffer, 0, this, read, nullptr, seek);
    if (context_ == nullptr) {
      av_free(buffer);
      throw std::bad_alloc();
    }
  }
  ~SkippedFile() {
    av_freep(&context_->buffer);
    avio_context_free(&context_);
  }
  SkippedFile(const SkippedFile&) = delete;
  SkippedFile& operator=(const SkippedFile&) = delete;

  AVIOContext* context() const { return context_; }
  int64_t bytes() const { return status_.st_size; }
  void skip_to(int64_t end) { skipped_ = end; }

 private:
  static int read(void* opaque, std::uint8_t* out, int count) {
    auto& self = *static_cast<SkippedFile*>(opaque);
    if (self.position_ >= self.bytes()) return AVERROR_EOF;
    if (self.position_ < self.skipped_) {
      count = static_cast<int>(std::min<int64_t>(count, self.skipped_ - self.position_));
      if (count <= kBuffer) std::memset(out, 0, static_cast<std::size_t>(count));
      self.position_ += count;
      return count;
    }
    ssize_t got = 0;
    do {
      got = ::pread(self.file_.get(), out, static_cast<std::size_t>(count), self.position_);
    } while (got < 0 && errno == EINTR);
    if (got < 0) return AVERROR(errno);
    self.position_ += got;
    return got == 0 ? AVERROR_EOF : static_cast<int>(got);
  }

  static int64_t seek(void* opaque, int64_t offset, int whence) {
    auto& self = *static_cast<SkippedFile*>(opaque);
    switch (whence & ~AVSEEK_FORCE) {
      case AVSEEK_SIZE:
        return self.bytes();
      case SEEK_CUR:
        offset += self.position_;
        break;
      case SEEK_END:
        offset += self.bytes();
        break;
      default:
        break;
    }
    if (offset < 0) return AVERROR(EINVAL);
    return self.position_ = offset;
  }

  struct stat status_ {};
  io::Descriptor file_;
  AVIOContext* context_ = nullptr;
  int64_t position_ = 0;
  int64_t skipped_ = 0;  // what lies before it is not read
};

const AVIndexEntry* listed_packet(AVStream& stream, int64_t number) {
  if (number >= listed_packets(stream)) return nullptr;
#if LIBAVFORMAT_VERSION_MAJOR >= 59
  return avformat_index_get_entry(&stream, static_cast<int>(number));
#else
  return &stream.index_entries[number];
#endif
}

}  // namespace

bool visit_listed_packets(const std::string& path, decltype(AVFormatContext::iformat) format,
                          int stream, const std::function<void(const AVPacket&)>& visit) {
  SkippedFile file(path);
  AVFormatContext* context = avformat_alloc_context();
  if (context == nullptr) throw std::bad_alloc();
  context->pb = file.context();
  // Without a parser, which would look into packets, their times are those of the header still.
  context->flags |= AVFMT_FLAG_NOPARSE | AVFMT_FLAG_NOFILLIN;
  AVDictionary* options = nullptr;
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  const int opened = avformat_open_input(&context, path.c_str(), format, &options);
  av_dict_free(&options);
  if (opened < 0) return false;
  const ffmpeg::Input input(context);
  if (stream >= static_cast<int>(context->nb_streams)) return false;
  for (unsigned i = 0; i < context->nb_streams; ++i)
    context->streams[i]->discard =
        static_cast<int>(i) == stream ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
  AVStream& film = *context->streams[stream];
  const auto packet = ffmpeg::make_packet();
  for (int64_t number = 0;; ++number) {
    const AVIndexEntry* next = listed_packet(film, number);
    if (next != nullptr && next->size > 0 &&
        (next->pos < 0 || next->pos > file.bytes() - next->size))
      throw Error(ErrorCategory::bad_file,
                  path + ": is cut: its index lists " + std::to_string(listed_packets(film)) +
                      " frames, only " + std::to_string(number) + " are there");
    file.skip_to(next != nullptr ? next->pos + next->size : 0);
    av_packet_unref(packet.get());
    const int code = av_read_frame(context, packet.get());
    if (code == AVERROR_EOF) return next == nullptr && number > 0;
    next = listed_packet(film, number);  // that of a fragment is listed when it is reached
    if (code < 0 || next == nullptr || packet->stream_index != stream || packet->pos != next->pos ||
        packet->size != next->size || (packet->flags & AV_PKT_FLAG_CORRUPT) != 0)
      return false;
    visit(*packet);
  }
}

}  // namespace foresight::data
