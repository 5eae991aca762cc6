// SPDX-License-Identifier: Apache-2.0
// Batches on the device that computes: while the model works on one, the next is on its way.
#pragma once

#include <memory>
#include <optional>

#include "foresight/data/loader.hpp"

namespace foresight::data {

/// A loader whose batches lie on a device. What travels are the bytes that were decoded: a quarter
/// of what pictures in float32 would be; models convert and normalise on the device.
///
/// On a GPU a batch is copied on a stream of its own, without waiting, one batch ahead of what
/// next() returns, from page-locked memory if the loader's LoaderOptions.memory is pinned (from
/// pageable memory the copy is correct and holds up the host). next() lets the current stream wait
/// for the copy, not the host. On the CPU the batches are the loader's own.
///
/// Order, positions, the end of an epoch and errors are those of the loader, which must not be used
/// otherwise. For one thread.
class FORESIGHT_API StagedLoader {
 public:
  /// Throws Error(invalid_argument) without a loader.
  StagedLoader(std::unique_ptr<Loader> loader, at::Device device);
  ~StagedLoader();
  StagedLoader(const StagedLoader&) = delete;
  StagedLoader& operator=(const StagedLoader&) = delete;

  /// As Loader::next(), with pixels, actions and states on the device; Batch::windows stay on the
  /// CPU.
  std::optional<Batch> next();
  /// Of the batch that next() will return, as Loader::position().
  LoaderPosition position() const;
  void seek(const LoaderPosition& position);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace foresight::data
