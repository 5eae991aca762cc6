// SPDX-License-Identifier: Apache-2.0
// Decoded frames in memory, or in a file that is mapped into it. Video is small on disk and slow to
// decode at random; a data set of small frames fits into memory as uint8, and then every epoch
// after the first costs a copy.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/dataset.hpp"
#include "foresight/data/unreadable.hpp"

namespace foresight::data {

struct FORESIGHT_API FrameCacheOptions {
  int64_t budget_mb = 4096;  ///< most memory for frames, in MB of 10^6 bytes; 0: keep nothing
  int64_t threads = 0;       ///< decoding threads; 0: one per core
  std::string folder = {};   ///< where files of decoded frames are kept from run to run and mapped
                             ///< into memory; empty: in memory, for this process only

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("budget_mb", self.budget_mb, "most memory for decoded frames, MB; 0: keep nothing");
    visit("threads", self.threads, "decoding threads; 0: one per core");
    visit("folder", self.folder,
          "where files of decoded frames are kept from run to run; empty: in memory");
  }
  std::vector<std::string> validate() const;
};

/// How far a FrameCache has come with decoding.
struct DecodingProgress {
  int64_t episodes = 0, all_episodes = 0;
  int64_t frames = 0, all_frames = 0;
  int64_t bytes = 0, all_bytes = 0;  ///< of decoded frames
};

/// What a FrameCache asks and tells while it decodes, which may take hours.
struct FORESIGHT_API FrameCacheHooks {
  /// Asked by several threads at once, at least every 64 MB. Once true, decoding ends: what is then
  /// in memory is held, and of a file, which is removed, nothing. All other frames are decoded at
  /// each use, as those beyond the budget are.
  std::function<bool()> stop = {};
  /// Told every `interval_s`, by one thread at a time, and once at the end of a decoding that took
  /// longer. Empty: a line in the log, level info.
  std::function<void(const DecodingProgress&)> progress = {};
  double interval_s = 5;
};

/// Frames of a data set, from memory where they fit. Whole episodes are decoded once, in sequence,
/// by several threads, when the cache is made; episodes are kept in the order given until the
/// budget is used up. The others are decoded at each use: with shuffled windows a fixed set is hit
/// as often as a least-recently-used one of the same size, and needs no lock. Thread-safe.
///
/// With FrameCacheOptions.folder the frames lie in a file there, a few bytes larger than they are,
/// which further runs and other processes map instead of decoding; the system keeps in memory what
/// it has room for. One file per recording, camera, way of decoding, size of picture and choice of
/// episodes; it appears when it is whole, and is written anew when the recording has changed
/// (names, sizes and times of the files that frames are read from, lengths of its episodes, pixels
/// of some frames) or the file does not hold what it should. It must not be shortened while it is
/// in use. While it is written, a thread holds 64 MB of frames or 24 of them, not an episode.
class FORESIGHT_API FrameCache {
 public:
  /// Decodes `episodes` (empty: all). Throws what Dataset::read_frames() throws, for the first
  /// episode that fails; with Unreadable::skip such an episode is not held, and a warning names it.
  /// Throws Error(io_failure) where a file of frames cannot be written.
  explicit FrameCache(std::shared_ptr<const Dataset> dataset, const FrameCacheOptions& options = {},
                      std::vector<int64_t> episodes = {}, Unreadable unreadable = Unreadable::fail,
                      const FrameCacheHooks& hooks = {});

  const std::shared_ptr<const Dataset>& dataset() const noexcept { return dataset_; }
  /// Frames held in memory, or in the file.
  int64_t frames_held() const noexcept { return frames_held_; }
  /// All frames uint8 [T,H,W,3] of an episode that is held; undefined otherwise. Not to be
  /// modified.
  Tensor held(int64_t episode) const;

  /// Those of `episodes` of which every frame can be read, in their order. Decodes what is not
  /// held.
  std::vector<int64_t> readable(const std::vector<int64_t>& episodes) const;

  /// Copies frames `rows` of an episode to `out`, which has room for rows.size() frames of H*W*3
  /// bytes.
  void copy(int64_t episode, at::IntArrayRef rows, std::uint8_t* out) const;
  /// Says that these frames will soon be copied: what of them lies on a disk, in the file of frames
  /// or in the recording, is fetched meanwhile (Dataset::announce_frames()). Never throws.
  void announce(int64_t episode, at::IntArrayRef rows) const noexcept;
  /// The same as copy() gives, as a tensor uint8 [N,H,W,3].
  Tensor frames(int64_t episode, at::IntArrayRef rows) const;

 private:
  class Decoding;
  void hold_in_memory(const std::vector<int64_t>& chosen, int64_t threads, Decoding& decoding);
  void hold_in_file(const std::vector<int64_t>& chosen, const FrameCacheOptions& options,
                    Decoding& decoding);

  std::shared_ptr<const Dataset> dataset_;
  std::vector<Tensor> episodes_;  // by episode number; undefined: not held
  int64_t frames_held_ = 0;
  bool in_file_ = false;  // what is held lies in a file that is mapped, perhaps not in memory
};

}  // namespace foresight::data
