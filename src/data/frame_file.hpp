// SPDX-License-Identifier: Apache-2.0
// Decoded frames in a file that is mapped into memory: decoded once, shared by all processes, and
// still there in the next run. Private to the data folder.
//
// The file, little-endian: the frames of every episode, one after the other, with a gap in place of
// one that was left out (a hole, where the file system has them); then the index, three
// int64 an episode (number, frames, offset of its first byte); then the trailer, eight int64:
// magic, version, fingerprint of the data set, height, width, episodes, offset of the index, FNV-1a
// of index and trailer. It appears under its name when it is whole.
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/fnv1a.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

/// Adds a text and where it ends, so that "ab", "c" is not "a", "bc".
void add_name(Fnv1a& hash, const std::string& text);

/// Tells one state of a data set from another: the file that it is, what its frames are read from
/// and how they are decoded (Dataset::identify_frames(); all files below it where that says
/// nothing), its camera and episodes, and some of the frames.
int64_t fingerprint(const Dataset& dataset);

class FrameFile {
 public:
  /// What a file must hold to be used.
  struct Content {
    int64_t fingerprint = 0;
    ImageSize size;
    std::map<int64_t, int64_t> episodes;  ///< number to frames; some may be missing in the file
  };

  /// Maps a file. Null, with `problem` said, where there is none or it does not hold that content:
  /// every number in it is checked against the size of the file. Throws Error(io_failure), or
  /// Error(bad_file) where no file but a folder lies.
  static std::shared_ptr<const FrameFile> open(const std::filesystem::path& path,
                                               const Content& content, std::string& problem);

  /// Frames first.. of an episode, uint8 [count,H,W,3].
  using Put = std::function<void(int64_t first, const Tensor& frames)>;
  /// Hands all frames of an episode to `put`, in pieces; false for one that is left out.
  using Decode = std::function<bool(int64_t episode, const Put& put)>;

  /// Writes a file, several episodes being decoded at a time by `threads` threads (0: one per
  /// core), each piece to its place: no more is held than a piece a thread. Throws what `decode`
  /// throws, or Error(io_failure), e.g. for a full disk; nothing is left behind then.
  static void write(const std::filesystem::path& path, const Content& content, int64_t threads,
                    const Decode& decode);

  /// Frames of the episodes that it holds, uint8 [frames,H,W,3]: the mapped bytes themselves, which
  /// the tensors keep mapped. Not to be modified.
  const std::map<int64_t, Tensor>& episodes() const { return episodes_; }

  /// Has the system fetch frames `rows` of an episode's mapped `frames`: exactly their pages, many
  /// at once. A page that is read before that costs a wait for the disk of its own, and brings with
  /// it what lies around, which random windows do not need.
  static void announce(const Tensor& frames, at::IntArrayRef rows);

 private:
  std::map<int64_t, Tensor> episodes_;
};

}  // namespace foresight::data
