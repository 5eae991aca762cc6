// SPDX-License-Identifier: Apache-2.0
#include "video_file.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <filesystem>

#include "foresight/core/log.hpp"
#include "packet_pass.hpp"

namespace foresight::data {
namespace {

// Containers of camera and robot recordings. Others stay shut: playlists (HLS, concat) would let a
// hostile "video" name other files and addresses, and image or text probes would call anything a
// video.
constexpr const char* kContainers =
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,flv,ogg,ivf,h264,hevc,m4v,nut,mxf,asf";
constexpr int64_t kMaxPixels =
    int64_t{1} << 27;  // 134 Mpixel: above any camera, below what exhausts a machine

[[noreturn]] void fail(ErrorCategory category, const std::string& path, const std::string& what) {
  throw Error(category, path + ": " + what);
}

void check_is_file(const std::string& path) {
  namespace fs = std::filesystem;
  std::error_code code;
  const auto status = fs::status(path, code);
  if (!fs::exists(status)) fail(ErrorCategory::not_found, path, "no such file");
  if (!fs::is_regular_file(status))
    fail(ErrorCategory::bad_file, path, "is not a regular file, expected a video");
  const auto bytes = fs::file_size(path, code);
  if (!code && bytes == 0) fail(ErrorCategory::bad_file, path, "is empty, expected a video");
}

// Packets that carry pictures which are never shown, or only half a picture, do not count frames.
bool packets_are_frames(const AVCodecParameters& parameters) {
  if (parameters.codec_id == AV_CODEC_ID_VP8) return false;  // hidden alternate reference frames
  switch (parameters.field_order) {
    case AV_FIELD_TT:
    case AV_FIELD_BB:
    case AV_FIELD_TB:
    case AV_FIELD_BT:
      return parameters.codec_id == AV_CODEC_ID_MJPEG;  // else possibly one packet a field
    default:
      return true;
  }
}

}  // namespace

VideoFile::VideoFile(std::string path)
    : path_(std::move(path)), packet_(ffmpeg::make_packet()), frame_(ffmpeg::make_frame()) {
  ffmpeg::redirect_log();
  check_is_file(path_);
  open();
}

void VideoFile::open() {
  ffmpeg::forget_log();
  AVDictionary* options = nullptr;
  av_dict_set(&options, "format_whitelist", kContainers, 0);
  av_dict_set(&options, "protocol_whitelist", "file", 0);
  AVFormatContext* context = nullptr;
  // "file:" keeps a name with a colon from being taken for a protocol.
  const int code = avformat_open_input(&context, ("file:" + path_).c_str(), nullptr, &options);
  av_dict_free(&options);
  if (code < 0)
    fail(ErrorCategory::bad_file, path_, "is not a readable video: " + ffmpeg::reason(code));
  codec_.reset();
  input_.reset(context);
  // A file that is cut or damaged often opens with complaints; they are judged where frames are
  // read.
  const int found = avformat_find_stream_info(context, nullptr);
  stream_ = av_find_best_stream(context, AVMEDIA_TYPE_VIDEO, -1, -1, nullptr, 0);
  if (stream_ < 0 || (stream().disposition & AV_DISPOSITION_ATTACHED_PIC) != 0) {
    const std::string streams =
        context->nb_streams == 0
            ? "has no streams"
            : "has " + std::to_string(context->nb_streams) + " stream(s) and none of them is video";
    fail(ErrorCategory::bad_file, path_, streams + (found < 0 ? ": " + ffmpeg::reason(found) : ""));
  }
  for (unsigned i = 0; i < context->nb_streams; ++i)
    context->streams[i]->discard =
        static_cast<int>(i) == stream_ ? AVDISCARD_DEFAULT : AVDISCARD_ALL;
  codec_ = open_video_decoder(*stream().codecpar, stream().time_base, path_);
  flushing_ = read_ahead_ = false;
  read_error_ = 0;
}

ffmpeg::Codec open_video_decoder(const AVCodecParameters& stream, AVRational time_base,
                                 const std::string& path) {
  const std::string name = avcodec_get_name(stream.codec_id);
  const AVCodec* codec = avcodec_find_decoder(stream.codec_id);
  if (codec == nullptr)
    fail(ErrorCategory::unsupported, path, "codec '" + name + "' has no decoder in this FFmpeg");
  if (stream.width <= 0 || stream.height <= 0)
    fail(ErrorCategory::bad_file, path,
         "video stream has no picture size: no frame can be decoded");
  ffmpeg::Codec decoder(avcodec_alloc_context3(codec));
  if (!decoder) throw std::bad_alloc();
  int code = avcodec_parameters_to_context(decoder.get(), &stream);
  if (code >= 0) {
    decoder->pkt_timebase = time_base;
    decoder->thread_count =
        1;  // loaders run one reader a thread; more threads here would only add latency
    decoder->max_pixels = kMaxPixels;
    code = avcodec_open2(decoder.get(), codec, nullptr);
  }
  if (code < 0)
    fail(ErrorCategory::bad_file, path,
         "decoder '" + name + "' does not open: " + ffmpeg::reason(code));
  return decoder;
}

bool encoded_alike(const AVCodecParameters& a, const AVCodecParameters& b) {
  return a.codec_id == b.codec_id && a.codec_tag == b.codec_tag && a.width == b.width &&
         a.height == b.height && a.format == b.format && a.video_delay == b.video_delay &&
         a.color_space == b.color_space && a.color_range == b.color_range &&
         a.extradata_size == b.extradata_size &&
         (a.extradata_size == 0 ||
          std::memcmp(a.extradata, b.extradata, static_cast<std::size_t>(a.extradata_size)) == 0);
}

double VideoFile::rotation() const {
  const std::uint8_t* matrix = nullptr;
  std::size_t size = 0;
#if LIBAVCODEC_VERSION_INT >= AV_VERSION_INT(60, 30, 100)
  const AVPacketSideData* side =
      av_packet_side_data_get(stream().codecpar->coded_side_data,
                              stream().codecpar->nb_coded_side_data, AV_PKT_DATA_DISPLAYMATRIX);
  if (side != nullptr) {
    matrix = side->data;
    size = side->size;
  }
#else
  for (int i = 0; i < stream().nb_side_data; ++i) {
    if (stream().side_data[i].type != AV_PKT_DATA_DISPLAYMATRIX) continue;
    matrix = stream().side_data[i].data;
    size = static_cast<std::size_t>(stream().side_data[i].size);
  }
#endif
  if (matrix == nullptr || size < 9 * sizeof(std::int32_t)) return 0;
  const double degrees = av_display_rotation_get(reinterpret_cast<const std::int32_t*>(matrix));
  if (!std::isfinite(degrees)) return 0;
  const double turned = std::fmod(std::round(degrees), 360.0);
  return turned < 0 ? turned + 360 : turned;
}

void VideoFile::restart() {
  damage_.clear();
  open();
}

bool VideoFile::seek(int64_t dts) {
  if (av_seek_frame(input_.get(), stream_, dts, AVSEEK_FLAG_BACKWARD) < 0) return false;
  avcodec_flush_buffers(codec_.get());
  damage_.clear();
  flushing_ = read_ahead_ = false;
  read_error_ = 0;
  return true;
}

bool VideoFile::seek(const KeyFrame& key) {
  if (key.pts != key.dts && seek(key.pts) && read_packet()) {
    const bool not_behind = packet_->pts != AV_NOPTS_VALUE && packet_->pts <= key.pts;
    read_ahead_ = not_behind && (packet_->flags & AV_PKT_FLAG_KEY) != 0;
    if (read_ahead_) return true;
  }
  return seek(key.dts);
}

bool VideoFile::read_packet() {
  for (;;) {
    av_packet_unref(packet_.get());
    const int code = av_read_frame(input_.get(), packet_.get());
    if (code < 0) {
      read_error_ = code == AVERROR_EOF ? 0 : code;
      return false;
    }
    if (packet_->stream_index == stream_) return true;
  }
}

bool VideoFile::feed() {
  if (flushing_) return false;
  if (!std::exchange(read_ahead_, false) && !read_packet()) {
    flushing_ = true;
    if (read_error_ != 0)
      damage_.push_back(
          {AV_NOPTS_VALUE, "the file cannot be read on: " + ffmpeg::reason(read_error_)});
    avcodec_send_packet(codec_.get(),
                        nullptr);  // the decoder holds back frames (B-frames): ask for them
    return true;
  }
  const int64_t pts = packet_->pts != AV_NOPTS_VALUE ? packet_->pts : packet_->dts;
  if ((packet_->flags & AV_PKT_FLAG_CORRUPT) != 0) damage_.push_back({pts, "packet is incomplete"});
  ffmpeg::forget_log();
  const int code = avcodec_send_packet(codec_.get(), packet_.get());
  if (code < 0) damage_.push_back({pts, "decoder refuses packet: " + ffmpeg::reason(code)});
  return true;
}

bool VideoFile::next_frame() {
  for (;;) {
    av_frame_unref(frame_.get());
    const int code = avcodec_receive_frame(codec_.get(), frame_.get());
    if (code == 0) {
      if (frame_->decode_error_flags != 0 || (frame_->flags & AV_FRAME_FLAG_CORRUPT) != 0)
        damage_.push_back({frame_pts(), "picture is damaged"});
      return true;
    }
    if (code == AVERROR_EOF) return false;
    if (code != AVERROR(EAGAIN)) damage_.push_back({AV_NOPTS_VALUE, ffmpeg::reason(code)});
    if (!feed()) return false;
  }
}

int64_t VideoFile::frame_pts() const {
  return frame_->pts != AV_NOPTS_VALUE ? frame_->pts : frame_->best_effort_timestamp;
}

std::vector<Damaged> VideoFile::take_damage() { return std::exchange(damage_, {}); }

std::optional<FrameTable> VideoFile::scan_packets() {
  if (!packets_are_frames(*stream().codecpar)) return std::nullopt;
  ffmpeg::forget_log();
  if (is_mp4() && listed_as_read(stream().codecpar->codec_id)) {
    if (auto listed = scan_header()) return listed;
    restart();
  }
  return read_packets();
}

std::optional<FrameTable> VideoFile::scan_header() {
  PacketPass listed;
  const auto visit = [&](const AVPacket& packet) { listed.add(packet, true); };
  if (!visit_listed_packets(path_, input_->iformat, stream_, visit) || !agrees_with(listed))
    return std::nullopt;
  return std::move(listed).table(*stream().codecpar, rotation() == 0);
}

// A header may be wrong, and say, for example, that decoding can start anywhere: looks at the
// first, the middle and the last key frame and the packets behind them.
bool VideoFile::agrees_with(const PacketPass& listed) {
  if (!listed.plain() || listed.keys().empty()) return false;
  const auto& keys = listed.keys();
  return agrees_behind(listed, keys.front()) && agrees_behind(listed, keys[keys.size() / 2]) &&
         agrees_behind(listed, keys.back());
}

// An mp4 is sought by times that lie, where pictures are reordered, behind those of decoding: by
// those that are shown, with an edit list by later ones.
bool VideoFile::agrees_behind(const PacketPass& listed, const KeyFrame& key) {
  const auto& places = listed.places();
  const int64_t offset = places[static_cast<std::size_t>(key.packet)].offset;
  StoredBytes stored(path_);
  for (const int64_t time : {key.pts, key.pts + (key.pts - key.dts)}) {
    if (!seek(time)) return false;
    bool met = false;  // the key frame; of the first one, whatever lies there
    for (int i = 0; i < 2 && read_packet(); ++i) {
      met = met || key.packet == listed.keys().front().packet || packet_->pos == offset;
      const auto place = std::find_if(places.begin(), places.end(), [&](const PacketPlace& one) {
        return one.offset == packet_->pos;
      });
      if (place == places.end() || place->size != packet_->size || place->pts != packet_->pts ||
          (place->flags & AV_PKT_FLAG_KEY) != (packet_->flags & AV_PKT_FLAG_KEY) ||
          !stored.are(*packet_))
        return false;
    }
    if (read_error_ != 0) return false;
    if (met) return true;
  }
  return false;
}

std::optional<FrameTable> VideoFile::read_packets() {
  PacketPass read;
  StoredBytes stored(path_);
  while (read_packet()) {
    if ((packet_->flags & AV_PKT_FLAG_CORRUPT) != 0)
      fail(ErrorCategory::bad_file, path_,
           "is cut or damaged: packet " + std::to_string(read.packets()) + " is incomplete");
    read.add(*packet_, read.plain() && stored.are(*packet_));
  }
  if (read_error_ != 0)
    fail(ErrorCategory::bad_file, path_,
         "cannot be read past packet " + std::to_string(read.packets()) + ": " +
             ffmpeg::reason(read_error_));
  // An mp4 lists its packets up front, so a file that was cut can be told from one that ends.
  if (is_mp4() && read.packets() < listed_packets(stream()))
    fail(ErrorCategory::bad_file, path_,
         "is cut: its index lists " + std::to_string(listed_packets(stream())) + " frames, only " +
             std::to_string(read.packets()) + " are there");
  return std::move(read).table(*stream().codecpar, rotation() == 0);
}

bool VideoFile::is_mp4() const {
  return std::string(input_->iformat->name).find("mp4") != std::string::npos;
}

FrameTable VideoFile::scan_frames(Damage damage) {
  restart();
  FrameTable table;
  std::size_t problems = 0;
  std::string first;
  const auto judge = [&] {
    for (const Damaged& problem : take_damage()) {
      const std::string text =
          "near frame " + std::to_string(table.pts.size()) + ": " + problem.what;
      if (damage == Damage::fail) fail(ErrorCategory::bad_file, path_, text);
      if (problems++ == 0) first = text;
    }
  };
  std::vector<int64_t> guessed;  // from decoding times, for files whose pts contradict each other
  bool timed = true;
  while (next_frame()) {
    judge();
    const auto count = static_cast<int64_t>(table.pts.size());
    const int64_t guess = frame().best_effort_timestamp;
    timed &= frame_pts() != AV_NOPTS_VALUE;
    table.pts.push_back(frame_pts() != AV_NOPTS_VALUE ? frame_pts() : count);
    guessed.push_back(guess != AV_NOPTS_VALUE ? guess : count);
  }
  judge();
  const bool ascending = std::adjacent_find(table.pts.begin(), table.pts.end(),
                                            std::greater_equal<>()) == table.pts.end();
  table.counted = !timed || !ascending || problems > 0;
  if (!timed || !ascending) {
    table.pts = std::move(guessed);
    log(LogLevel::warning,
        path_ + ": presentation times are missing or do not ascend; frames are counted");
  }
  if (problems > 0)
    log(LogLevel::warning, path_ + ": damaged, " + std::to_string(problems) +
                               " problem(s), first " + first + "; " +
                               std::to_string(table.pts.size()) + " frames decode");
  if (!table.counted) {  // key frames come from packets: decoders do not say which of them can be
                         // sought
    restart();
    while (read_packet())
      if ((packet_->flags & AV_PKT_FLAG_KEY) != 0 && packet_->pts != AV_NOPTS_VALUE)
        table.keys.push_back(
            {packet_->pts, packet_->dts != AV_NOPTS_VALUE ? packet_->dts : packet_->pts});
    std::sort(table.keys.begin(), table.keys.end(),
              [](const KeyFrame& a, const KeyFrame& b) { return a.pts < b.pts; });
  }
  return table;
}

}  // namespace foresight::data
