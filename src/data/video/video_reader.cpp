// SPDX-License-Identifier: Apache-2.0
#include "foresight/data/video_reader.hpp"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <numeric>

#include "foresight/core/log.hpp"
#include "rgb_converter.hpp"
#include "video_file.hpp"

namespace foresight::data {
namespace {

// Decoding on over a key frame costs less than a seek (flush, refilling the reorder buffer) for
// about this many frames.
constexpr int64_t kReadOnFrames = 4;

}  // namespace

struct VideoReader::Impl {
  Impl(const std::string& path, const VideoReaderOptions& chosen) : options(chosen), file(path) {}

  VideoReaderOptions options;
  VideoFile file;
  std::shared_ptr<const FrameTable> table;
  VideoInfo info;
  std::unique_ptr<RgbConverter> converter;
  int64_t current = -1;        // frame number that file.frame() holds; -1: none since the last seek
  bool positioned = false;     // whether decoding on from here is sound
  int64_t origin = INT64_MIN;  // pts of the key frame that decoding started from

  void build_table();
  void describe();
  std::string name(int64_t index) const;
  void go_to_start();
  void prepare(int64_t index);
  bool decode_to(int64_t index);
  void judge(int64_t index);
  void locate(int64_t index);
};

void VideoReader::Impl::build_table() {
  if (table != nullptr) return;
  std::optional<FrameTable> scanned;
  if (options.index == FrameIndex::automatic && options.damage == Damage::fail)
    scanned = file.scan_packets();
  if (!scanned) scanned = file.scan_frames(options.damage);
  if (scanned->pts.empty())
    throw Error(ErrorCategory::bad_file, file.path() + ": holds no video frame that decodes");
  const AVRational ticks = file.stream().time_base;
  scanned->order_by_time({ticks.num, ticks.den});
  table = std::make_shared<const FrameTable>(std::move(*scanned));
}

void VideoReader::Impl::describe() {
  const AVCodecParameters& parameters = *file.stream().codecpar;
  info.container = file.input().iformat->name;
  info.codec = avcodec_get_name(parameters.codec_id);
  const char* format = av_get_pix_fmt_name(static_cast<AVPixelFormat>(parameters.format));
  info.pixel_format = format != nullptr ? format : "unknown";
  info.coded_height = parameters.height;
  info.coded_width = parameters.width;
  info.rotation = file.rotation();
  info.time_base = {file.stream().time_base.num, file.stream().time_base.den};
  int turns = 0;
  if (options.orientation == Orientation::upright && info.rotation != 0) {
    turns = static_cast<int>(std::lround(info.rotation / 90)) % 4;
    if (std::abs(info.rotation - 90 * std::round(info.rotation / 90)) > 1)
      log(LogLevel::warning, file.path() + ": rotation of " + std::to_string(info.rotation) +
                                 " degrees is not a multiple of 90, the nearest is used");
  }
  info.height = options.height != 0 ? options.height
                : turns % 2 == 0    ? parameters.height
                                    : parameters.width;
  info.width = options.width != 0 ? options.width
               : turns % 2 == 0   ? parameters.width
                                  : parameters.height;
  converter = std::make_unique<RgbConverter>(info.height, info.width, turns, options.scaling,
                                             options.conversion);
  const std::size_t n = table->pts.size();
  if (n < 2) return;
  int64_t shortest = INT64_MAX, longest = INT64_MIN;
  for (std::size_t i = 1; i < n; ++i) {
    const int64_t gap = table->pts[i] - table->pts[i - 1];
    shortest = std::min(shortest, gap);
    longest = std::max(longest, gap);
  }
  info.constant_rate = longest - shortest <= 1;
  const auto [first, last] = std::minmax_element(table->pts.begin(), table->pts.end());
  const double ticks = static_cast<double>(*last - *first);
  if (ticks > 0)
    info.average_rate =
        static_cast<double>(n - 1) * info.time_base[1] / (ticks * info.time_base[0]);
}

std::string VideoReader::Impl::name(int64_t index) const {
  return file.path() + ": frame " + std::to_string(index) + " (pts " +
         std::to_string(table->pts[static_cast<std::size_t>(index)]) + ")";
}

void VideoReader::Impl::go_to_start() {
  file.restart();
  current = -1;
  origin = INT64_MIN;
  positioned = true;
}

// Leaves the decoder at a place from which decoding forward reaches frame `index`.
void VideoReader::Impl::prepare(int64_t index) {
  if (table->counted) {
    if (!positioned || current >= index) go_to_start();
    return;
  }
  const int64_t wanted = table->pts[static_cast<std::size_t>(index)];
  auto key = std::upper_bound(table->keys.begin(), table->keys.end(), wanted,
                              [](int64_t pts, const KeyFrame& k) { return pts < k.pts; });
  if (key == table->keys.begin()) {
    go_to_start();
    return;
  }
  --key;
  if (positioned && current >= 0 && current < index) {
    const int64_t here = table->pts[static_cast<std::size_t>(current)];
    if (here >= key->pts || index - current <= kReadOnFrames) return;
  }
  if (!file.seek(*key)) {
    go_to_start();
    return;
  }
  current = -1;
  origin = key->pts;
  positioned = true;
}

// Damage matters from the key frame on: pictures that lead it in display order lack their
// references after a seek and are thrown away anyway.
void VideoReader::Impl::judge(int64_t index) {
  for (const Damaged& problem : file.take_damage()) {
    if (options.damage == Damage::skip) continue;
    if (problem.pts != AV_NOPTS_VALUE && problem.pts < origin) continue;
    positioned = false;
    const std::string place =
        problem.pts == AV_NOPTS_VALUE || problem.pts == table->pts[static_cast<std::size_t>(index)]
            ? ""
            : "depends on pts " + std::to_string(problem.pts) + ": ";
    throw Error(ErrorCategory::bad_file, name(index) + ": " + place + problem.what);
  }
}

// False if the stream goes past the frame without showing it.
bool VideoReader::Impl::decode_to(int64_t index) {
  while (file.next_frame()) {
    judge(index);
    if (table->counted) {
      if (++current == index) return true;
      continue;
    }
    const int64_t pts = file.frame_pts();
    const auto at = std::lower_bound(table->pts.begin(), table->pts.end(), pts);
    if (at == table->pts.end() || *at != pts) continue;  // not in the table: a hidden frame
    current = at - table->pts.begin();
    if (current == index) return true;
    if (current > index) return false;
  }
  judge(index);
  return false;
}

void VideoReader::Impl::locate(int64_t index) {
  if (positioned && current == index && file.frame().data[0] != nullptr) return;
  prepare(index);
  if (decode_to(index)) return;
  // Some containers land after the place asked for; the way from the start is slow but does not
  // depend on seeking.
  go_to_start();
  if (decode_to(index)) return;
  positioned = false;
  throw Error(
      ErrorCategory::bad_file,
      name(index) +
          ": is listed in the file but does not decode; VideoReaderOptions.index = decoded lists "
          "only frames that do");
}

VideoReader::VideoReader(const std::string& path, const VideoReaderOptions& options)
    : VideoReader(path, options, nullptr) {}

VideoReader::VideoReader(const std::string& path, const VideoReaderOptions& options,
                         std::shared_ptr<const FrameTable> table) {
  require_valid(options);
  impl_ = std::make_unique<Impl>(path, options);
  impl_->table = std::move(table);
  impl_->build_table();
  impl_->describe();
}
VideoReader::~VideoReader() = default;
VideoReader::VideoReader(VideoReader&&) noexcept = default;
VideoReader& VideoReader::operator=(VideoReader&&) noexcept = default;

const VideoInfo& VideoReader::info() const noexcept { return impl_->info; }
const std::string& VideoReader::path() const noexcept { return impl_->file.path(); }
int64_t VideoReader::num_frames() const noexcept {
  return static_cast<int64_t>(impl_->table->pts.size());
}
const std::shared_ptr<const FrameTable>& VideoReader::table() const noexcept {
  return impl_->table;
}
const std::vector<int64_t>& VideoReader::pts() const noexcept { return impl_->table->pts; }

double VideoReader::time(int64_t index) const {
  if (index < 0 || index >= num_frames())
    throw Error(ErrorCategory::invalid_argument, path() + ": frame " + std::to_string(index) +
                                                     " does not exist, accepted: 0.." +
                                                     std::to_string(num_frames() - 1));
  return impl_->table->time(index);
}

Tensor VideoReader::frame(int64_t index) { return frames({index})[0]; }

Tensor VideoReader::frames(at::IntArrayRef indices) {
  Tensor out = at::empty(
      {static_cast<int64_t>(indices.size()), impl_->info.height, impl_->info.width, 3}, at::kByte);
  read(indices, out);
  return out;
}

void VideoReader::read(at::IntArrayRef indices, Tensor& out) {
  const auto count = static_cast<int64_t>(indices.size());
  check_shape("frames", out, {count, impl_->info.height, impl_->info.width, 3}, "[N,H,W,3]");
  require(out.scalar_type() == at::kByte && out.is_contiguous() && out.device().is_cpu(),
          ErrorCategory::invalid_argument, "frames: expected a contiguous uint8 CPU tensor");
  for (int64_t index : indices) time(index);  // checks the range before anything is decoded
  std::vector<int64_t> order(indices.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return indices[static_cast<std::size_t>(a)] < indices[static_cast<std::size_t>(b)];
  });
  const int64_t bytes = impl_->info.height * impl_->info.width * 3;
  auto* data = out.mutable_data_ptr<std::uint8_t>();
  int64_t previous = -1;  // place in `out` of the frame converted last
  for (int64_t place : order) {
    const int64_t index = indices[static_cast<std::size_t>(place)];
    if (previous >= 0 && indices[static_cast<std::size_t>(previous)] == index) {
      std::memcpy(data + place * bytes, data + previous * bytes, static_cast<std::size_t>(bytes));
      continue;
    }
    impl_->locate(index);
    impl_->converter->convert(impl_->file.frame(), data + place * bytes, path());
    previous = place;
  }
}

int64_t VideoReader::on_display(double seconds) const {
  require(std::isfinite(seconds), ErrorCategory::non_finite,
          path() + ": time is not a finite number");
  return impl_->table->on_display(seconds);
}

int64_t VideoReader::nearest(double seconds) const {
  require(std::isfinite(seconds), ErrorCategory::non_finite,
          path() + ": time is not a finite number");
  return impl_->table->nearest(seconds);
}

Tensor VideoReader::frame_at(double seconds, double tolerance) {
  const int64_t index = nearest(seconds);
  if (std::abs(time(index) - seconds) > tolerance)
    throw Error(ErrorCategory::not_found,
                path() + ": no frame within " + std::to_string(tolerance) +
                    " s of t = " + std::to_string(seconds) + " s, nearest is " +
                    std::to_string(time(index)) + " s (frame " + std::to_string(index) + ")");
  return frame(index);
}

}  // namespace foresight::data
