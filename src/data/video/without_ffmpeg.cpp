// SPDX-License-Identifier: Apache-2.0
// Films and PNG pictures in a build without FFmpeg: an error that says what is missing. Compiled in
// place of the files that use it (CMakeLists.txt).
#include "film_encoder.hpp"
#include "foresight/data/video_reader.hpp"
#include "foresight/data/video_writer.hpp"
#include "picture.hpp"
#include "video_frames.hpp"

namespace foresight::data {
namespace {

// `what` opens the message: a path, and what was to be done if that is not to open it.
[[noreturn]] void refuse_without_ffmpeg(const std::string& what) {
  throw Error(ErrorCategory::unsupported,
              what +
                  ": this build of foresight has no FFmpeg, which films, PNG pictures and other "
                  "sizes of pictures need. Install it (Debian/Ubuntu: apt-get install "
                  "libavformat-dev libavcodec-dev libavutil-dev libswscale-dev) and configure "
                  "foresight again with FORESIGHT_WITH_FFMPEG=ON, the default");
}

}  // namespace

struct VideoReader::Impl {  // never made
  VideoInfo info;
  std::string path;
  std::shared_ptr<const FrameTable> table;
  std::vector<int64_t> pts;
};

VideoReader::VideoReader(const std::string& path, const VideoReaderOptions&) {
  refuse_without_ffmpeg(path);
}
VideoReader::VideoReader(const std::string& path, const VideoReaderOptions&,
                         std::shared_ptr<const FrameTable>) {
  refuse_without_ffmpeg(path);
}
VideoReader::~VideoReader() = default;
VideoReader::VideoReader(VideoReader&&) noexcept = default;
VideoReader& VideoReader::operator=(VideoReader&&) noexcept = default;
const VideoInfo& VideoReader::info() const noexcept { return impl_->info; }
const std::string& VideoReader::path() const noexcept { return impl_->path; }
int64_t VideoReader::num_frames() const noexcept { return 0; }
const std::shared_ptr<const FrameTable>& VideoReader::table() const noexcept {
  return impl_->table;
}
const std::vector<int64_t>& VideoReader::pts() const noexcept { return impl_->pts; }
double VideoReader::time(int64_t) const { return 0; }
Tensor VideoReader::frame(int64_t) { return {}; }
Tensor VideoReader::frames(at::IntArrayRef) { return {}; }
void VideoReader::read(at::IntArrayRef, Tensor&) {}
int64_t VideoReader::nearest(double) const { return 0; }
int64_t VideoReader::on_display(double) const { return 0; }
Tensor VideoReader::frame_at(double, double) { return {}; }

struct VideoWriter::Impl {};

VideoWriter::VideoWriter(std::filesystem::path path, const VideoWriterOptions& options) {
  require_valid(options);
  refuse_without_ffmpeg(path.string());
}
VideoWriter::~VideoWriter() = default;
VideoWriter::VideoWriter(VideoWriter&&) noexcept = default;
VideoWriter& VideoWriter::operator=(VideoWriter&&) noexcept = default;
void VideoWriter::write(const Tensor&) {}
int64_t VideoWriter::frames_written() const noexcept { return 0; }
int64_t VideoWriter::bytes_written() const noexcept { return 0; }
void VideoWriter::close() {}

bool has_video_encoder(const std::string&) { return false; }
void require_video_encoder(const std::filesystem::path& path, const std::string&) {
  refuse_without_ffmpeg(path.string());
}

std::shared_ptr<const FrameSource> video_frames(std::vector<EpisodeClip> clips, FrameLookup,
                                                const VideoReaderOptions&, Unreadable) {
  for (const auto& clip : clips)
    if (!clip.file.empty()) refuse_without_ffmpeg(clip.file.string());
  refuse_without_ffmpeg("films");
}

Tensor decode_png_picture(std::string_view, const std::string& name) {
  refuse_without_ffmpeg(name);
}

void require_png_decoder(const std::string& name) { refuse_without_ffmpeg(name); }

Tensor scaled_pictures(const Tensor& pictures, const VideoReaderOptions& options) {
  const auto told = [](int64_t width, int64_t height) {
    return std::to_string(width) + "x" + std::to_string(height);
  };
  refuse_without_ffmpeg("pictures of " + told(pictures.size(2), pictures.size(1)) +
                        " cannot be scaled to " + told(options.width, options.height));
}

}  // namespace foresight::data
