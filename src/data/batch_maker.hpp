// SPDX-License-Identifier: Apache-2.0
// Window numbers to batches: a pure function that any number of threads may call. Private to the
// data folder.
#pragma once

#include <atomic>

#include "foresight/data/loader.hpp"

namespace foresight::data {

class BatchMaker {
 public:
  /// See Loader.
  BatchMaker(std::shared_ptr<const FrameCache> frames, const WindowIndex& windows,
             const ActionSpace& actions, const LoaderOptions& options);

  /// Where a batch lies in the epoch's order; it decides what takes the place of windows that
  /// cannot be read.
  struct Place {
    int64_t epoch = 0, first = 0;
  };

  /// The batch of these windows, its position unset. Gives up with an empty batch when `stop`
  /// becomes true.
  Batch make(at::IntArrayRef windows, const Place& place, const std::atomic<bool>& stop) const;
  /// Says that these windows will be made soon, so that their bytes are on the way from the disk.
  void announce(at::IntArrayRef windows, const std::atomic<bool>& stop) const;
  const WindowIndex& windows() const { return windows_; }

 private:
  void read_frames(const Window& window, std::uint8_t* out) const;
  // The window that was read to `out`: number `number`, or what takes its place.
  int64_t read_or_replace(int64_t number, const Place& place, std::uint8_t* out,
                          std::vector<SkippedWindow>& skipped) const;
  Tensor normalised_actions(int64_t episode, const ActionSpace& actions) const;
  at::TensorOptions options(at::ScalarType type) const;

  std::shared_ptr<const FrameCache> frames_;
  WindowIndex windows_;
  int64_t width_;  // A
  HostMemory memory_;
  Unreadable unreadable_;
  std::uint64_t seed_;
  int64_t state_columns_ = 0;  // N, 0: batches have no states
  // Small next to the frames, so they are prepared once: workers only copy, and never run tensor
  // operations.
  std::vector<Tensor> actions_;  // per episode, float32 [rows, dim], normalised
  std::vector<Tensor> states_;   // per episode, float32 [rows, N]
};

}  // namespace foresight::data
