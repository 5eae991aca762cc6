// SPDX-License-Identifier: Apache-2.0
// Encoded pictures to RGB: PNG through FFmpeg, which also scales all of them, JPEG through libjpeg.
// FFmpeg would read JPEG too, but it enlarges the halved colour planes by another filter than
// libjpeg, which wrote and reads nearly all of them: around small coloured things that is off by
// tens of levels. Private to the data folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "../file_stamp.hpp"
#include "../formats/columnar_dataset.hpp"
#include "foresight/data/picture_file.hpp"

namespace foresight::data {

/// The size that a PNG or JPEG file claims, without decoding it. Throws Error(io_failure),
/// Error(bad_file) for other bytes, a cut head and a size that is not decodable(), and
/// Error(unsupported) for PNG in a build that does not decode it.
ImageSize picture_size(const std::filesystem::path& path);

/// Pixels of a picture at most, as for video.
inline constexpr int64_t kLargestPicture = int64_t{1} << 27;
/// Of a size with positive sides; their product need not be representable.
inline bool decodable(const ImageSize& size) { return size.height <= kLargestPicture / size.width; }

/// Pictures uint8 [N,H,W,3] at the size that the options ask for; themselves if they ask for none.
Tensor resized_pictures(const Tensor& pictures, const VideoReaderOptions& options);

/// What decode_picture() and resized_pictures() do by FFmpeg: the picture in a PNG file of less
/// than 1 GiB, or nothing where that could be read, and contiguous pictures at another size than
/// theirs. Throw Error(unsupported) without it.
Tensor decode_png_picture(std::string_view bytes, const std::string& name);
void require_png_decoder(const std::string& name);
Tensor scaled_pictures(const Tensor& pictures, const VideoReaderOptions& options);

/// decode_picture() and resized_pictures() of one whose size is not known before: [1,H,W,3] as
/// `options_for` its stored size ask, a JPEG picture also reduced while it is decoded. What
/// `options_for` throws is passed on if it is an Error.
Tensor picture_at(std::string_view bytes, const std::string& name,
                  const std::function<VideoReaderOptions(const ImageSize& stored)>& options_for);

/// Where encoded pictures come from.
struct EncodedPictures {
  std::function<std::string(int64_t episode, int64_t row)> read;    ///< their bytes
  std::function<std::string(int64_t episode, int64_t row)> name;    ///< what messages call them
  std::function<void(int64_t episode, int64_t row)> announce = {};  ///< see Dataset; may be empty
  std::function<void(Fnv1a& hash)> identify = {};                   ///< likewise
  /// See FrameSource; empty: three pictures of an episode tell it.
  std::function<bool(int64_t episode, int64_t length, PictureEvidence, Fnv1a& hash)>
      identify_pictures = {};
  int64_t first = 0;  ///< an episode whose pictures can be read: it tells their size
};

/// Frames that are pictures of their own. All must have the size of the first.
std::shared_ptr<const FrameSource> picture_frames(EncodedPictures pictures,
                                                  const VideoReaderOptions& options);

/// The same, each in a file: `path(episode, row)`, which had `stamps[episode][row]` when the data
/// set was opened; an episode without stamps has no pictures and is not asked for. With
/// Unreadable::skip the first episode whose first picture can be read tells their size.
std::shared_ptr<const FrameSource> picture_file_frames(
    std::function<std::string(int64_t episode, int64_t row)> path,
    std::vector<std::vector<FileStamp>> stamps, const VideoReaderOptions& options,
    Unreadable unreadable = Unreadable::fail);

/// Frames that lie uncompressed, or behind a library, as tensors: `read` gives uint8 [N,H,W,3].
/// The first of `shown`, episodes that are there, tells their size; with Unreadable::skip the first
/// whose first frame can be read.
std::shared_ptr<const FrameSource> tensor_frames(
    std::function<Tensor(int64_t episode, at::IntArrayRef rows)> read,
    const VideoReaderOptions& options, const std::vector<int64_t>& shown = {0},
    Unreadable unreadable = Unreadable::fail);

/// Calls `add(row)` for the first row, one in the middle and the last. False where one cannot be
/// read.
template <class Add>
bool add_three_rows(int64_t length, Add&& add) {
  try {
    for (const int64_t row : {int64_t{0}, length / 2, length - 1}) add(row);
    return true;
  } catch (const Error& problem) {
    if (!is_unreadable(problem)) throw;
    return false;
  }
}

/// What `make(episode)` gives for the first of `episodes` for which it does not throw that its
/// pictures cannot be read; without Unreadable::skip for the first.
template <class Make>
auto first_that_shows(const std::vector<int64_t>& episodes, Unreadable unreadable, Make&& make) {
  for (const int64_t episode : episodes) {
    try {
      return make(episode);
    } catch (const Error& problem) {
      const bool last = episode == episodes.back();
      if (last || unreadable == Unreadable::fail || !is_unreadable(problem)) throw;
    }
  }
  throw Error(ErrorCategory::bad_file, "there is no picture that can be read");
}

}  // namespace foresight::data
