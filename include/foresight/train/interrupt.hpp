// SPDX-License-Identifier: Apache-2.0
// Ctrl-C and SIGTERM as a question that a loop asks, so that training ends with a checkpoint.
#pragma once

#include "foresight/core/export.hpp"

namespace foresight::train {

/// While one exists, the first SIGINT or SIGTERM only sets a flag; the second one acts as it did
/// before (usually it ends the process). One at a time per process: a second one is an Error.
class FORESIGHT_API InterruptGuard {
 public:
  InterruptGuard();
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

  /// Whether a signal has come since the guard was made.
  static bool requested() noexcept;
};

}  // namespace foresight::train
