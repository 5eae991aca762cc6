// SPDX-License-Identifier: Apache-2.0
// Decoded frames in memory. Video is small on disk and slow to decode at random; a data set of
// small frames fits into memory as uint8, and then every epoch after the first costs a copy.
#pragma once

#include <memory>
#include <vector>

#include "foresight/core/options.hpp"
#include "foresight/data/dataset.hpp"

namespace foresight::data {

struct FORESIGHT_API FrameCacheOptions {
  int64_t budget_mb = 4096;  ///< most memory for frames, in MB of 10^6 bytes; 0: keep nothing
  int64_t threads = 0;       ///< decoding threads; 0: one per core

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("budget_mb", self.budget_mb, "most memory for decoded frames, MB; 0: keep nothing");
    visit("threads", self.threads, "decoding threads; 0: one per core");
  }
  std::vector<std::string> validate() const;
};

/// Frames of a data set, from memory where they fit. Whole episodes are decoded once, in sequence,
/// by several threads, when the cache is made; episodes are kept in the order given until the
/// budget is used up. The others are decoded at each use: with shuffled windows a fixed set is hit
/// as often as a least-recently-used one of the same size, and needs no lock. Thread-safe.
class FORESIGHT_API FrameCache {
 public:
  /// Decodes `episodes` (empty: all). Throws what Dataset::read_frames() throws, for the first
  /// episode that fails.
  explicit FrameCache(std::shared_ptr<const Dataset> dataset, const FrameCacheOptions& options = {},
                      std::vector<int64_t> episodes = {});

  const std::shared_ptr<const Dataset>& dataset() const noexcept { return dataset_; }
  /// Frames held in memory.
  int64_t frames_held() const noexcept { return frames_held_; }
  /// All frames uint8 [T,H,W,3] of an episode that is held; undefined otherwise. Not to be
  /// modified.
  Tensor held(int64_t episode) const;

  /// Copies frames `rows` of an episode to `out`, which has room for rows.size() frames of H*W*3
  /// bytes.
  void copy(int64_t episode, at::IntArrayRef rows, std::uint8_t* out) const;
  /// The same as a tensor uint8 [N,H,W,3].
  Tensor frames(int64_t episode, at::IntArrayRef rows) const;

 private:
  std::shared_ptr<const Dataset> dataset_;
  std::vector<Tensor> episodes_;  // by episode number; undefined: not held
  int64_t frames_held_ = 0;
};

}  // namespace foresight::data
