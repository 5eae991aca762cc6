// SPDX-License-Identifier: Apache-2.0
// Exact access to the frames of a video file, by number or by time, as uint8 RGB tensors.
//
// A frame is identified by its presentation time. Frame counts and rates in file headers are
// guesses of whoever wrote the file, so neither is used: opening a file makes a table of the
// presentation times of its packets (no decoding), as the header of an mp4 lists them, else by
// reading them, and frame number i is the i-th of them. Where packets cannot tell (no times, equal
// times, codecs with hidden frames), the file is decoded once to build the table.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/core/tensor.hpp"

namespace foresight::data {

/// How pictures are resized when another size than the file's is asked for. All of them average
/// over the source area when shrinking.
enum class Scaling { bilinear, bicubic, area };

/// How YUV becomes RGB. The matrix and range of the frame are honoured by both; unspecified means
/// BT.601, limited range.
enum class ColourConversion {
  fast,  ///< swscale's short cuts, the bytes that torchcodec gives; last bits differ between CPUs
  accurate,  ///< exact rounding and full chroma interpolation: the same bytes on every CPU
};

/// How a JPEG picture becomes smaller than it is stored.
enum class JpegReduction {
  after_decoding,  ///< it is decoded whole, then resized, as the loaders of Python packages do
  while_decoding,  ///< it is decoded at 1/2, 1/4 or 1/8 of its size, the least that is not smaller
                   ///< than asked for, then resized: faster, and other grey levels (docs/data.md)
};

/// What to do with a rotation that the file asks for (phones store it instead of turning the
/// picture).
enum class Orientation {
  upright,  ///< turn the picture, as players and torchcodec do
  coded,    ///< give the picture as it is coded
};

/// What to do with a file that is cut short or damaged inside.
enum class Damage {
  fail,  ///< an Error that names file and frame
  skip,  ///< the table lists the frames that do decode; a warning is logged. Damaged pictures may
         ///< be among them
};

/// Where the table of frames comes from.
enum class FrameIndex {
  automatic,  ///< from packets, or by decoding where packets cannot tell
  decoded,    ///< always by decoding the whole file once: slow and beyond doubt
};

/// How a file is opened.
struct FORESIGHT_API VideoReaderOptions {
  int64_t height = 0;                  ///< height of the frames returned; 0: the file's
  int64_t width = 0;                   ///< width of the frames returned; 0: the file's
  Scaling scaling = Scaling::bicubic;  ///< filter if the size changes
  ColourConversion conversion = ColourConversion::fast;          ///< YUV to RGB
  JpegReduction jpeg_reduction = JpegReduction::after_decoding;  ///< exact unless asked otherwise:
                                                                 ///< a model sees what it was
                                                                 ///< trained on
  Orientation orientation = Orientation::upright;  ///< what to do with rotation metadata
  Damage damage = Damage::fail;                    ///< what to do with damaged files
  FrameIndex index = FrameIndex::automatic;        ///< where the table of frames comes from

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("height", self.height, "height of the frames returned; 0: the file's");
    visit("width", self.width, "width of the frames returned; 0: the file's");
    visit("scaling", self.scaling, "resize filter: bilinear, bicubic or area");
    visit("conversion", self.conversion, "YUV to RGB: fast or accurate");
    visit("jpeg_reduction", self.jpeg_reduction,
          "JPEG pictures become smaller after_decoding or while_decoding (faster, other levels)");
    visit("orientation", self.orientation, "rotation metadata: upright (apply) or coded (ignore)");
    visit("damage", self.damage, "damaged files: fail or skip");
    visit("index", self.index, "table of frames: automatic or decoded");
  }
  std::vector<std::string> validate() const;
};

/// Facts about the video stream of a file.
struct VideoInfo {
  std::string container;     ///< e.g. "mov,mp4,m4a,3gp,3g2,mj2"
  std::string codec;         ///< e.g. "h264"
  std::string pixel_format;  ///< e.g. "yuv420p"
  int64_t coded_height = 0;  ///< before rotation and scaling
  int64_t coded_width = 0;   ///< before rotation and scaling
  int64_t height = 0;        ///< of the frames returned
  int64_t width = 0;         ///< of the frames returned
  double rotation = 0;       ///< degrees anticlockwise that the file asks for, 0..360
  std::array<int64_t, 2> time_base = {0, 1};  ///< seconds per tick of pts(), as a fraction
  double average_rate =
      0;  ///< frames per second over the whole file, from the frame table; 0 for one frame
  bool constant_rate = true;  ///< whether all frames are equally spaced (to one tick)
};

struct FrameTable;  // private to the library

/// Reads one file with one decoder thread. Remembers where it is: reading forward costs one decode
/// a frame, jumping costs the frames since the last key frame. Not thread-safe; use one reader per
/// thread.
class FORESIGHT_API VideoReader {
 public:
  /// Opens `path` (mp4, mkv, webm, avi, mpeg-ts, ...) and builds the frame table.
  /// Throws Error(not_found) if there is no such file, Error(bad_file) if it is empty, cut, damaged
  /// (Damage::fail), not a video, or holds no video frame, Error(unsupported) if this FFmpeg has no
  /// decoder for it, or this build no FFmpeg.
  explicit VideoReader(const std::string& path, const VideoReaderOptions& options = {});
  /// Opens a file whose table of frames is known from another reader of it, with the same options:
  /// saves making it, for which many containers are read whole.
  VideoReader(const std::string& path, const VideoReaderOptions& options,
              std::shared_ptr<const FrameTable> table);
  ~VideoReader();
  VideoReader(VideoReader&&) noexcept;
  VideoReader& operator=(VideoReader&&) noexcept;

  const VideoInfo& info() const noexcept;
  const std::string& path() const noexcept;
  int64_t num_frames() const noexcept;
  /// For further readers of the same file.
  const std::shared_ptr<const FrameTable>& table() const noexcept;
  /// Presentation time of every frame in ticks of info().time_base, in display order. As stored: an
  /// mp4 starts at 0, an MPEG transport stream usually does not.
  const std::vector<int64_t>& pts() const noexcept;
  /// Presentation time of frame `index` in seconds.
  double time(int64_t index) const;

  /// Frame `index` as uint8 [H,W,3]. Throws Error(invalid_argument) outside 0..num_frames()-1,
  /// Error(bad_file) if the frame cannot be decoded.
  Tensor frame(int64_t index);
  /// Frames in the order asked for, uint8 [N,H,W,3]. Decodes each once, in display order, whatever
  /// the order of `indices`; they may repeat.
  Tensor frames(at::IntArrayRef indices);
  /// As frames(), into a contiguous uint8 CPU tensor [N,H,W,3] of the caller's.
  void read(at::IntArrayRef indices, Tensor& out);

  /// Number of the frame whose time is nearest to `seconds`; the earlier one if two are equally
  /// near.
  int64_t nearest(double seconds) const;
  /// Number of the frame that a player shows at `seconds`: the last one with time <= `seconds`
  /// (rounded to half a tick); the first frame before that.
  int64_t on_display(double seconds) const;
  /// The frame nearest to `seconds`; Error(not_found) naming the nearest time if it is further than
  /// `tolerance` away.
  Tensor frame_at(double seconds, double tolerance);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foresight::data

template <>
struct foresight::EnumNames<foresight::data::Scaling> {
  static constexpr std::array<std::pair<std::string_view, data::Scaling>, 3> names = {
      {{"bilinear", data::Scaling::bilinear},
       {"bicubic", data::Scaling::bicubic},
       {"area", data::Scaling::area}}};
};
template <>
struct foresight::EnumNames<foresight::data::ColourConversion> {
  static constexpr std::array<std::pair<std::string_view, data::ColourConversion>, 2> names = {
      {{"fast", data::ColourConversion::fast}, {"accurate", data::ColourConversion::accurate}}};
};
template <>
struct foresight::EnumNames<foresight::data::JpegReduction> {
  static constexpr std::array<std::pair<std::string_view, data::JpegReduction>, 2> names = {
      {{"after_decoding", data::JpegReduction::after_decoding},
       {"while_decoding", data::JpegReduction::while_decoding}}};
};
template <>
struct foresight::EnumNames<foresight::data::Orientation> {
  static constexpr std::array<std::pair<std::string_view, data::Orientation>, 2> names = {
      {{"upright", data::Orientation::upright}, {"coded", data::Orientation::coded}}};
};
template <>
struct foresight::EnumNames<foresight::data::Damage> {
  static constexpr std::array<std::pair<std::string_view, data::Damage>, 2> names = {
      {{"fail", data::Damage::fail}, {"skip", data::Damage::skip}}};
};
template <>
struct foresight::EnumNames<foresight::data::FrameIndex> {
  static constexpr std::array<std::pair<std::string_view, data::FrameIndex>, 2> names = {
      {{"automatic", data::FrameIndex::automatic}, {"decoded", data::FrameIndex::decoded}}};
};
