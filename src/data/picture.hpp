// SPDX-License-Identifier: Apache-2.0
// Encoded pictures to RGB: PNG through FFmpeg, JPEG through libjpeg. FFmpeg would read JPEG too,
// but it enlarges the halved colour planes by another filter than libjpeg, which wrote and reads
// nearly all of them: around small coloured things that is off by tens of levels. Private to the
// data folder.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "columnar_dataset.hpp"
#include "file_stamp.hpp"

namespace foresight::data {

/// The picture in a PNG or JPEG file as uint8 [H,W,3]; grey is repeated, alpha dropped. `name`
/// opens every message. Throws Error(bad_file) for other bytes and for damage.
Tensor decode_picture(std::string_view bytes, const std::string& name);

/// The size that a PNG or JPEG file claims, without decoding it. Throws Error(io_failure), and
/// Error(bad_file) for other bytes, a cut head and a size that is not decodable().
ImageSize picture_size(const std::filesystem::path& path);

/// Pixels of a picture at most, as for video.
inline constexpr int64_t kLargestPicture = int64_t{1} << 27;
/// Of a size with positive sides; their product need not be representable.
inline bool decodable(const ImageSize& size) { return size.height <= kLargestPicture / size.width; }

/// Pictures uint8 [N,H,W,3] at the size that the options ask for; themselves if they ask for none.
Tensor resized_pictures(const Tensor& pictures, const VideoReaderOptions& options);

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
/// Episode `first` can be read: it tells their size.
std::shared_ptr<const FrameSource> tensor_frames(
    std::function<Tensor(int64_t episode, at::IntArrayRef rows)> read,
    const VideoReaderOptions& options, int64_t first = 0);

}  // namespace foresight::data
