// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/video_writer.hpp"

#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <mutex>
#include <new>

#include "../../io/descriptor.hpp"
#include "../../io/temporary.hpp"
#include "ffmpeg.hpp"
#include "film_encoder.hpp"

namespace foresight::data {
namespace {

struct CloseOutput {
  void operator()(AVFormatContext* context) const {
    if (context->pb != nullptr) avio_closep(&context->pb);
    avformat_free_context(context);
  }
};
using Output = std::unique_ptr<AVFormatContext, CloseOutput>;

// What an encoder calls a middling speed.
struct EncoderPreset {
  const char* encoder;
  const char* option;
  const char* value;
};
constexpr EncoderPreset kPresets[] = {{"libx264", "preset", "medium"},
                                      {"libx265", "preset", "medium"},
                                      {"libsvtav1", "preset", "8"},
                                      {"libaom-av1", "cpu-used", "6"},
                                      {"librav1e", "speed", "8"}};

// Encoders of the kind that a name stands for, best first; the name itself if it is an encoder's.
std::vector<std::string> encoders_of(const std::string& name) {
  if (name == "h264") return {"libx264", "libopenh264"};
  if (name == "av1") return {"libsvtav1", "libaom-av1", "librav1e"};
  if (name == "hevc") return {"libx265"};
  return {name};
}

bool is_film_codec(AVCodecID id) {
  return id == AV_CODEC_ID_H264 || id == AV_CODEC_ID_AV1 || id == AV_CODEC_ID_HEVC;
}

std::vector<const AVCodec*> find_encoders(const std::string& name) {
  std::vector<const AVCodec*> found;
  for (const auto& one : encoders_of(name)) {
    const AVCodec* codec = avcodec_find_encoder_by_name(one.c_str());
    if (codec != nullptr && is_film_codec(codec->id)) found.push_back(codec);
  }
  return found;
}

// SVT-AV1 prints a banner for every film, and every size it refuses, unless this is set; it offers
// no other way.
void quieten_encoders() {
  static std::once_flag once;
  std::call_once(once, [] { ::setenv("SVT_LOG", "0", /*overwrite=*/0); });
}

}  // namespace

bool has_video_encoder(const std::string& encoder) { return !find_encoders(encoder).empty(); }

void require_video_encoder(const std::filesystem::path& path, const std::string& encoder) {
  require(has_video_encoder(encoder), ErrorCategory::unsupported,
          path.string() + ": this FFmpeg has no encoder '" + encoder +
              "' for H.264, AV1 or HEVC; install a build with libx264 (Debian/Ubuntu: "
              "libavcodec-extra or ffmpeg) or set VideoWriterOptions.encoder");
}

struct VideoWriter::Impl {
  std::filesystem::path path, temporary;
  VideoWriterOptions options;
  Output output;
  ffmpeg::Codec codec;
  ffmpeg::Packet packet;
  ffmpeg::Frame rgb, yuv;
  ffmpeg::Scaler scaler;
  AVStream* stream = nullptr;
  int64_t written = 0;
  bool closed = false;

  ~Impl() { discard(); }
  [[noreturn]] void fail(ErrorCategory category, const std::string& what) const {
    throw Error(category, path.string() + ": " + what);
  }
  void check(int code, const std::string& what) const {
    if (code < 0) fail(ErrorCategory::io_failure, what + ": " + ffmpeg::reason(code));
  }
  void discard();
  void start(int64_t height, int64_t width);
  int try_codec(const AVCodec* encoder, int64_t height, int64_t width);
  void open_codec(int64_t height, int64_t width);
  void open_scaler(int64_t height, int64_t width);
  void encode(const AVFrame* frame);
  void append(const std::uint8_t* pixels, int64_t height, int64_t width);
  void finish();
};

void VideoWriter::Impl::discard() {
  codec.reset();
  output.reset();
  if (temporary.empty() || closed) return;
  std::error_code ignored;
  std::filesystem::remove(temporary, ignored);
}

// FFmpeg's code: below 0 if this encoder does not take these frames.
int VideoWriter::Impl::try_codec(const AVCodec* encoder, int64_t height, int64_t width) {
  codec.reset(avcodec_alloc_context3(encoder));
  if (!codec) throw std::bad_alloc();
  codec->width = static_cast<int>(width);
  codec->height = static_cast<int>(height);
  codec->pix_fmt = options.chroma == Chroma::yuv420 ? AV_PIX_FMT_YUV420P : AV_PIX_FMT_YUV444P;
  codec->framerate = av_d2q(options.fps, 1000000);
  codec->time_base = av_inv_q(codec->framerate);
  codec->gop_size = static_cast<int>(options.key_interval);
  codec->color_range = AVCOL_RANGE_MPEG;
  codec->colorspace = AVCOL_SPC_SMPTE170M;
  codec->thread_count = 1;
  if ((output->oformat->flags & AVFMT_GLOBALHEADER) != 0)
    codec->flags |= AV_CODEC_FLAG_GLOBAL_HEADER;
  // Other encoders name these differently or lack them; then their defaults stand.
  for (const auto& preset : kPresets)
    if (std::string(preset.encoder) == encoder->name)
      av_opt_set(codec->priv_data, preset.option,
                 options.preset.empty() ? preset.value : options.preset.c_str(), 0);
  av_opt_set(codec->priv_data, "crf", std::to_string(options.crf).c_str(), 0);
  return avcodec_open2(codec.get(), encoder, nullptr);
}

// The first encoder that takes the frames: SVT-AV1, for one, wants them to be 64x64 at least.
void VideoWriter::Impl::open_codec(int64_t height, int64_t width) {
  int code = 0;
  for (const AVCodec* encoder : find_encoders(options.encoder)) {
    code = try_codec(encoder, height, width);
    if (code >= 0) return;
  }
  fail(ErrorCategory::unsupported, "encoder '" + options.encoder + "' does not take " +
                                       std::to_string(width) + "x" + std::to_string(height) +
                                       " frames with these options: " + ffmpeg::reason(code));
}

void VideoWriter::Impl::open_scaler(int64_t height, int64_t width) {
  packet = ffmpeg::make_packet();
  rgb = ffmpeg::make_frame();
  yuv = ffmpeg::make_frame();
  for (AVFrame* frame : {rgb.get(), yuv.get()}) {
    frame->width = static_cast<int>(width);
    frame->height = static_cast<int>(height);
    frame->format = frame == rgb.get() ? AV_PIX_FMT_RGB24 : codec->pix_fmt;
    if (av_frame_get_buffer(frame, 64) < 0) throw std::bad_alloc();
  }
  yuv->color_range = codec->color_range;
  yuv->colorspace = codec->colorspace;
  scaler.reset(sws_getContext(
      rgb->width, rgb->height, AV_PIX_FMT_RGB24, rgb->width, rgb->height, codec->pix_fmt,
      SWS_BICUBIC | SWS_ACCURATE_RND | SWS_FULL_CHR_H_INT | SWS_FULL_CHR_H_INP, nullptr, nullptr,
      nullptr));
  if (!scaler) throw std::bad_alloc();
  const int* bt601 = sws_getCoefficients(SWS_CS_ITU601);
  sws_setColorspaceDetails(scaler.get(), bt601, 1, bt601, 0, 0, 1 << 16, 1 << 16);
}

void VideoWriter::Impl::start(int64_t height, int64_t width) {
  require(height >= 2 && width >= 2 && height <= 16384 && width <= 16384,
          ErrorCategory::invalid_argument,
          path.string() + ": frames of " + std::to_string(width) + "x" + std::to_string(height) +
              " pixels, accepted: 2..16384 each");
  require(options.chroma == Chroma::yuv444 || (height % 2 == 0 && width % 2 == 0),
          ErrorCategory::invalid_argument,
          path.string() + ": frames of " + std::to_string(width) + "x" + std::to_string(height) +
              " pixels need VideoWriterOptions.chroma = yuv444; yuv420 takes even sizes only");
  ffmpeg::forget_log();
  // Beside the target, so that the rename stays within one file system; the process id keeps two
  // writers apart.
  temporary = path;
  temporary += std::string(".").append(std::to_string(::getpid())).append(".tmp");
  AVFormatContext* context = nullptr;
  check(avformat_alloc_output_context2(&context, nullptr, "mp4",
                                       ("file:" + temporary.string()).c_str()),
        "mp4 container");
  output.reset(context);
  open_codec(height, width);
  stream = avformat_new_stream(output.get(), nullptr);
  if (stream == nullptr) throw std::bad_alloc();
  check(avcodec_parameters_from_context(stream->codecpar, codec.get()), "codec parameters");
  stream->time_base = codec->time_base;
  stream->avg_frame_rate = codec->framerate;
  open_scaler(height, width);
  check(avio_open(&output->pb, ("file:" + temporary.string()).c_str(), AVIO_FLAG_WRITE),
        "cannot be written");
  AVDictionary* flags = nullptr;
  av_dict_set(&flags, "movflags", "+faststart",
              0);  // index first: readable over a network, cut files still open
  const int code = avformat_write_header(output.get(), &flags);
  av_dict_free(&flags);
  check(code, "header cannot be written");
}

void VideoWriter::Impl::encode(const AVFrame* frame) {
  ffmpeg::forget_log();
  check(avcodec_send_frame(codec.get(), frame),
        "frame " + std::to_string(written) + " cannot be encoded");
  for (;;) {
    const int code = avcodec_receive_packet(codec.get(), packet.get());
    if (code == AVERROR(EAGAIN) || code == AVERROR_EOF) return;
    check(code, "frame " + std::to_string(written) + " cannot be encoded");
    // Without it the last frame of a variable-rate looking file would last one tick.
    if (packet->duration == 0) packet->duration = 1;
    av_packet_rescale_ts(packet.get(), codec->time_base, stream->time_base);
    packet->stream_index = stream->index;
    check(av_interleaved_write_frame(output.get(), packet.get()), "cannot be written");
  }
}

void VideoWriter::Impl::append(const std::uint8_t* pixels, int64_t height, int64_t width) {
  if (av_frame_make_writable(rgb.get()) < 0 || av_frame_make_writable(yuv.get()) < 0)
    throw std::bad_alloc();
  for (int64_t r = 0; r < height; ++r)
    std::memcpy(rgb->data[0] + r * rgb->linesize[0], pixels + r * width * 3,
                static_cast<std::size_t>(width * 3));
  sws_scale(scaler.get(), rgb->data, rgb->linesize, 0, rgb->height, yuv->data, yuv->linesize);
  yuv->pts = written;
  encode(yuv.get());
  ++written;
}

void VideoWriter::Impl::finish() {
  encode(nullptr);
  check(av_write_trailer(output.get()), "cannot be finished");
  check(avio_closep(&output->pb), "cannot be finished");
  codec.reset();
  output.reset();
  // On the disk before anything refers to it: a power cut must not leave an empty film that a
  // table lists.
  const io::Descriptor film(::open(temporary.c_str(), O_RDONLY | O_CLOEXEC));
  if (!film || ::fsync(film.get()) != 0) throw io::system_error(path, "flush to disk");
  std::error_code code;
  std::filesystem::rename(temporary, path, code);
  if (code)
    fail(ErrorCategory::io_failure,
         "cannot be renamed from " + temporary.string() + ": " + code.message());
  io::sync_folder(path.has_parent_path() ? path.parent_path() : ".");
  closed = true;
}

VideoWriter::VideoWriter(std::filesystem::path path, const VideoWriterOptions& options) {
  require_valid(options);
  ffmpeg::redirect_log();
  quieten_encoders();
  impl_ = std::make_unique<Impl>();
  impl_->path = std::move(path);
  impl_->options = options;
  require_video_encoder(impl_->path, options.encoder);
  const auto folder =
      impl_->path.has_parent_path() ? impl_->path.parent_path() : std::filesystem::path(".");
  if (!std::filesystem::is_directory(folder))
    impl_->fail(ErrorCategory::io_failure, "folder " + folder.string() + " does not exist");
}
VideoWriter::~VideoWriter() = default;
VideoWriter::VideoWriter(VideoWriter&&) noexcept = default;
VideoWriter& VideoWriter::operator=(VideoWriter&&) noexcept = default;

void VideoWriter::write(const Tensor& frames) {
  require(!impl_->closed, ErrorCategory::invalid_argument,
          impl_->path.string() + ": is closed already");
  require(frames.defined() && (frames.dim() == 3 || frames.dim() == 4) && frames.size(-1) == 3,
          ErrorCategory::invalid_argument,
          impl_->path.string() + ": frames have shape " +
              (frames.defined() ? shape_string(frames.sizes()) : std::string("undefined")) +
              ", expected [H,W,3] or [N,H,W,3]");
  require(frames.scalar_type() == at::kByte, ErrorCategory::invalid_argument,
          impl_->path.string() + ": frames have another type than uint8");
  const Tensor packed = (frames.dim() == 3 ? frames.unsqueeze(0) : frames).cpu().contiguous();
  const int64_t height = packed.size(1), width = packed.size(2);
  if (packed.size(0) == 0) return;
  if (!impl_->output) {
    try {
      impl_->start(height, width);
    } catch (...) {
      impl_->discard();  // the next frame may be one that can be written
      throw;
    }
  }
  require(impl_->codec != nullptr && height == impl_->codec->height && width == impl_->codec->width,
          ErrorCategory::invalid_argument,
          impl_->path.string() + ": frames of " + std::to_string(width) + "x" +
              std::to_string(height) + " pixels in a film of another size");
  const auto* pixels = packed.const_data_ptr<std::uint8_t>();
  for (int64_t n = 0; n < packed.size(0); ++n)
    impl_->append(pixels + n * height * width * 3, height, width);
}

int64_t VideoWriter::frames_written() const noexcept { return impl_->written; }

int64_t VideoWriter::bytes_written() const noexcept {
  return impl_->output && impl_->output->pb != nullptr ? avio_tell(impl_->output->pb) : 0;
}

void VideoWriter::close() {
  if (impl_->closed) return;
  require(impl_->written > 0, ErrorCategory::invalid_argument,
          impl_->path.string() + ": no frame was written");
  impl_->finish();
}

}  // namespace foresight::data
