// SPDX-License-Identifier: Apache-2.0
// Films and pictures of many sizes, shown at one: scaled until they cover it, and cut about the
// centre.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "picture_files.hpp"
#include "video_frames.hpp"

namespace foresight::data {

/// One episode of a folder of films and pictures alone.
struct Shown {
  std::string name;
  std::vector<std::filesystem::path> files;  // one video, or a picture a row
  bool film = false;
  std::vector<FileStamp> stamps = {};  // of pictures
  ImageSize size;                      // of its first picture
  int64_t length = 0;
  double rate = 0;
  bool even = true;  // frames equally spaced in time
  std::shared_ptr<const FrameTable> table = {};
};

/// The smallest size of the shape of `size` that covers `wanted`. Throws Error(bad_file) naming
/// `file`, a strip so long that this is larger than any picture.
ImageSize covering(const std::string& file, const ImageSize& size, const ImageSize& wanted);

/// The frames of all episodes; throws as covering() does, while reading too.
std::shared_ptr<const FrameSource> covering_frames(const std::vector<Shown>& episodes,
                                                   const ImageSize& size,
                                                   const VideoReaderOptions& options);

}  // namespace foresight::data
